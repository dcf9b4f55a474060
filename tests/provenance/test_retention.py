"""What runs take on disk is listed, and old images and adapters go, but never what a kept run stands on."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import pytest
import torch
import yaml
from another_host import HOST, hold_elsewhere
from click.testing import CliRunner
from kedro.framework.context import KedroContext
from kedro.framework.project import settings
from kedro.io import DatasetError

from rsidiff_kedro.cli import cli
from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.execution.unfinished import LOCK_NAME, Unfinished, begin_run
from rsidiff_kedro.method.replay import weighted_images
from rsidiff_kedro.provenance.content_digest import PRUNED, content_digest
from rsidiff_kedro.provenance.records import Record, Records
from rsidiff_kedro.provenance.retention import LEFT_OVER, Disk
from rsidiff_kedro.scenes.world.grammar import parse_caption

OLD, MIDDLE, NEW = (f"2026-01-0{day}T00.00.00.000Z" for day in (1, 2, 3))


class Runs:
    """Writes what runs would, without running."""

    def __init__(self, project: Path, load_context: Callable[..., KedroContext], images: ImageSet) -> None:
        self._context = load_context(env="test")
        self._images = replace(images, latents=torch.zeros(len(images), 4, 4, 4))
        self._weights = images.metadata[["image_id"]].assign(weight=1.0)
        self.data = project / "data" / "test"
        self.records = Records(self.data / "lineage")

    def make(self, version: str, name: str, *inputs: Record, seed: int = 0) -> Record:
        """Save a dataset as a step of this run would, and its record."""
        training_set = weighted_images(self._images, self._weights, 1)
        kinds = {"images": self._images, "report": "<html>", "metrics": {"a": 1.0}, "set": training_set}
        adapter = Adapter({"unet.a": torch.full((2,), float(seed))}, {"round": 1})
        self._context._get_catalog(save_version=version).save(
            name, kinds.get(name.split("_")[-1].split(".")[-1], adapter)
        )
        record = Record(
            step=name,
            version=version,
            outputs={name: "digest"},
            code="",
            assets="",
            libraries={},
            parameters={"seed": seed},
            inputs={each.step: "digest" for each in inputs},
            origins={each.step: each.version for each in inputs},
        )
        self.records.write(record)
        return record

    def load(self, version: str, name: str) -> object:
        return self._context._get_catalog(load_versions={name: version}).load(name)


@pytest.fixture
def made(project: Path, load_context: Callable[..., KedroContext], scene_images: Callable[..., ImageSet]) -> Runs:
    return Runs(project, load_context, scene_images([parse_caption("a red circle")], 2))


def prune(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["rsi", "prune", "--env=test", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_without_rules_nothing_goes(made: Runs) -> None:
    made.make(OLD, "report", made.make(OLD, "rsi.round_1.images"))
    assert "Nothing to delete" in prune("--delete")


def test_images_and_adapters_of_old_runs_go_and_tables_stay(made: Runs) -> None:
    for seed, version in enumerate((OLD, NEW)):
        images = made.make(version, "rsi.round_1.images", seed=seed)
        metrics = made.make(version, "rsi.round_1.metrics", made.make(version, "rsi.round_1.adapter", images))
        made.make(version, "report", metrics)
    assert "Nothing was deleted" in prune("--params=keep.runs=1")
    assert made.load(OLD, "rsi.round_1.adapter")
    listed = prune("--params=keep.runs=1", "--delete")
    assert listed.count(OLD) == 2
    assert NEW not in listed
    for name in ("images", "adapter"):
        with pytest.raises(
            DatasetError, match="was pruned; a run of all stages with --only-missing-outputs makes it again"
        ):
            made.load(OLD, f"rsi.round_1.{name}")
        assert made.load(NEW, f"rsi.round_1.{name}")
    assert made.load(OLD, "rsi.round_1.metrics") == {"a": 1.0}
    assert "Nothing to delete" in prune("--params=keep.runs=1", "--delete")


def test_a_reader_that_leaves_is_no_error_and_keeps_nothing(made: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """`kedro rsi prune --delete | head -n 1`: the second line meets a closed pipe."""
    for seed, version in enumerate((OLD, MIDDLE, NEW)):
        made.make(version, "report", made.make(version, "rsi.round_1.images", seed=seed), seed=seed)
    echo, said = click.echo, []

    def to_head(line: str) -> None:
        if said:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        said.append(line)
        echo(line)

    with monkeypatch.context() as patched:
        patched.setattr(click, "echo", to_head)
        result = CliRunner().invoke(cli, ["rsi", "prune", "--env=test", "--params=keep.runs=1", "--delete"])
    assert result.output.splitlines() == said and "no run that is kept needs it" in said[0]
    assert "Nothing to delete" in prune("--params=keep.runs=1")


def test_another_folder_of_configuration_shows_its_own_runs(made: Runs, project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "conf", tmp_path / "other")
    (tmp_path / "other" / "test" / "globals.yml").write_text("extends: scenes\ndata: data/elsewhere\n")
    made.make(OLD, "report", made.make(OLD, "rsi.round_1.images"))
    for option, count in (("--conf-source=../other", 0), ("--conf-source=conf", 1), ("--conf-source=", 1)):
        assert f"{count} runs, " in CliRunner().invoke(cli, ["rsi", "runs", "--env=test", option]).output
        assert settings.CONF_SOURCE == "conf"
    refused = CliRunner().invoke(cli, ["rsi", "runs", "--env=test", "--conf-source=../others"])
    assert (refused.exit_code, "'../others' does not exist" in refused.output) == (2, True)


def test_what_a_kept_run_went_on_from_stays(made: Runs) -> None:
    adapter = made.make(OLD, "rsi.round_1.adapter", made.make(OLD, "rsi.round_1.images"))
    made.make(OLD, "report", adapter)
    made.make(NEW, "report", made.make(NEW, "rsi.round_2.adapter", adapter), seed=1)
    assert "Nothing to delete" in prune("--params=keep.runs=1", "--delete")


def test_a_run_that_is_not_finished_counts_for_none(made: Runs) -> None:
    made.make(OLD, "report", made.make(OLD, "rsi.round_1.images"))
    made.make(NEW, "rsi.round_1.images", seed=1)
    assert "Nothing to delete" in prune("--params=keep.runs=1", "--delete")


def test_training_images_of_old_rounds_go_but_for_the_bases(made: Runs) -> None:
    rounds = [made.make(OLD, f"rsi.round_{number}.images") for number in (1, 2, 3, 4)]
    base = made.make(OLD, "base_images", rounds[0])
    made.make(OLD, "report", *rounds, base, made.make(OLD, "rsi.round_2.test_images"))
    prune("--params=keep.rounds=1", "--delete")
    left = [path.parts[-5] for path in made.data.glob("03_primary/rsi/*/images/*/images/images")]
    assert left == ["round_4"]
    assert made.load(OLD, "base_images")
    assert made.load(OLD, "rsi.round_2.test_images")


def test_of_old_rounds_what_stages_call_prunable_goes(made: Runs) -> None:
    old = ("rsi.round_1.images", "rsi.round_1.training_set", "rsi.round_1.validation_images")
    kept = ("rsi.round_1.test_images", "rsi.round_1.adapter", "rsi.round_2.training_set", "rsi.round_2.images")
    made.make(OLD, "report", *(made.make(OLD, name) for name in (*old, *kept)))
    prune("--params=keep.rounds=1", "--delete")
    for name in old:
        with pytest.raises(DatasetError, match="was pruned"):
            made.load(OLD, name)
    assert all(made.load(OLD, name) for name in kept)


def test_what_killed_runs_left_goes_when_it_is_of_no_use(made: Runs) -> None:
    done = made.make(OLD, "report")
    finished = Unfinished(made.data / "unfinished", done.key, MIDDLE, resume=False)
    useful = Unfinished(made.data / "unfinished", "other", MIDDLE, resume=False)
    live = Unfinished(made.data / "unfinished", done.key, NEW, resume=False)
    folders = [each.folder for each in (finished, useful, live)]
    finished.release()
    useful.release()
    partial = made.data / "03_primary" / "rsi" / ".images.1234.partial"
    partial.mkdir(parents=True)
    recent = partial.with_name(".images.5678.partial")
    recent.mkdir()
    os.utime(partial, (0, partial.stat().st_mtime - LEFT_OVER - 60))
    prune("--delete")
    assert [folder.exists() for folder in folders] == [False, True, True]
    assert (partial.exists(), recent.exists()) == (False, True)


def test_a_partial_file_that_goes_while_it_is_looked_at_is_passed_over(made: Runs) -> None:
    """A link to nothing is listed, and is not there when it is looked at, as a file that a run has just renamed."""
    (made.data / "03_primary").mkdir(parents=True)
    (made.data / "03_primary" / ".x.1234.partial").symlink_to("gone")
    assert "Nothing to delete" in prune()


def test_runs_are_listed_with_their_size_and_state(made: Runs) -> None:
    made.make(OLD, "report", made.make(OLD, "rsi.round_3.images"))
    made.make(MIDDLE, "rsi.round_1.adapter")
    running = Unfinished(made.data / "unfinished", "key", NEW, resume=False)
    (running.folder / "work").write_bytes(b"0" * 2_000_000)
    result = CliRunner().invoke(cli, ["rsi", "runs", "--env=test"])
    lines = [line.split() for line in result.output.splitlines()]
    assert [line[:3] for line in lines[1:4]] == [
        [OLD, "finished", "3"],
        [MIDDLE, "stopped", "1"],
        [NEW, "running", "0"],
    ]
    assert lines[3][-2:] == ["2.0", "MB"]


def linked(path: Path, kilobytes: int, *names: Path) -> None:
    path.write_bytes(b"0" * 1000 * kilobytes)
    for name in names:
        os.link(path, name)


def test_a_file_with_several_names_counts_once_and_is_freed_with_the_last(made: Runs) -> None:
    for number in (1, 2, 3):
        made.make(OLD, f"rsi.round_{number}.images")
    made.make(OLD, "report", *made.records.all(), made.make(NEW, "base_images"))
    one, two, base = (
        next(made.data.glob(f"03_primary/**/{place}/*Z/*/images"))
        for place in ("round_1/images", "round_2/images", "base_images")
    )
    linked(one / "a", 2000, base / "a")
    linked(one / "b", 4000, two / "b")
    listed = CliRunner().invoke(cli, ["rsi", "runs", "--env=test"]).output
    sizes = {line.split()[0]: line.split()[3] for line in listed.splitlines() if line.startswith("2026")}
    assert sizes == {OLD: "6.0", NEW: "0.0"}
    rows = [line for line in prune("--params=keep.rounds=1").splitlines() if "old round" in line]
    assert [line.split()[0] for line in rows] == ["0.0", "4.0"]


@pytest.mark.parametrize("command", ["runs", "prune"])
def test_folders_may_vanish_while_they_are_listed(made: Runs, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    made.make(OLD, "report", made.make(OLD, "rsi.round_1.images"))
    partial = made.data / "03_primary" / "rsi" / ".images.1234.partial"
    partial.mkdir()
    scan = os.scandir

    def vanishing(path: object = ".") -> object:
        if Path(str(path)) == partial:
            raise FileNotFoundError(path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    result = CliRunner().invoke(cli, ["rsi", command, "--env=test"])
    assert result.exit_code == 0, result.output


def reuse(made: Runs) -> None:
    """Make a run whose first step made the same output again, and which therefore reused an earlier run's report."""
    adapter = made.make(OLD, "rsi.round_1.adapter", made.make(OLD, "rsi.round_1.images"))
    made.make(OLD, "report", adapter)
    made.make(NEW, "rsi.round_1.images", seed=1)
    made.records.end(NEW, {"rsi.round_1.images": NEW, "rsi.round_1.adapter": OLD, "report": OLD})


def test_a_run_that_reused_its_report_is_finished(made: Runs) -> None:
    reuse(made)
    lines = [line.split()[:3] for line in CliRunner().invoke(cli, ["rsi", "runs", "--env=test"]).output.splitlines()]
    assert lines[1:3] == [[OLD, "finished", "1"], [NEW, "finished", "1"]]


def test_what_a_kept_run_reused_stays_also_where_it_made_nothing(made: Runs) -> None:
    for version, seed in ((OLD, 0), (MIDDLE, 1)):
        made.make(version, "report", made.make(version, "rsi.round_1.images", seed=seed))
    made.records.end(NEW, {"rsi.round_1.images": OLD, "report": OLD})
    lines = [line.split()[:3] for line in CliRunner().invoke(cli, ["rsi", "runs", "--env=test"]).output.splitlines()]
    assert lines[3] == [NEW, "finished", "1"]
    listed = prune("--params=keep.runs=1")
    assert MIDDLE in listed and OLD not in listed


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"report": 1}'])
def test_a_damaged_note_of_a_runs_end_counts_as_none(made: Runs, damage: str) -> None:
    reuse(made)
    next(made.data.glob(f"lineage/runs/{NEW}.json")).write_text(damage)
    assert f"{NEW}  stopped" in CliRunner().invoke(cli, ["rsi", "runs", "--env=test"]).output


def test_what_a_kept_run_reused_stays(made: Runs) -> None:
    reuse(made)
    listed = prune("--params=keep.runs=1", "--delete")
    assert "Nothing to delete" in listed
    assert made.load(OLD, "rsi.round_1.adapter")


def test_images_on_another_disk_are_pruned_too(
    project: Path, load_context: Callable[..., KedroContext], scene_images: Callable[..., ImageSet], tmp_path: Path
) -> None:
    entry = {"type": "rsidiff_kedro.datasets.ImageSetDataset", "versioned": True}
    place = tmp_path / "another disk"
    catalog = {"{method}.round_{n}.images": entry | {"filepath": f"{place}/{{method}}/round_{{n}}/images"}}
    (project / "conf" / "test" / "catalog.yml").write_text(yaml.safe_dump(catalog))
    made = Runs(project, load_context, scene_images([parse_caption("a red circle")], 2))
    for version in (OLD, NEW):
        made.make(version, "report", made.make(version, "rsi.round_1.images"))
    listed = prune("--params=keep.runs=1", "--delete")
    assert f"{place}/rsi/round_1/images/{OLD}" in listed and "Deleted" in listed
    assert not list(place.glob(f"rsi/round_1/images/{OLD}/images/**/*.png"))
    assert list(place.glob(f"rsi/round_1/images/{NEW}/images/**/*.png"))


def test_a_broken_entry_of_the_catalog_is_named_in_one_line(project: Path) -> None:
    (project / "conf" / "test" / "catalog.yml").write_text("notes:\n")
    result = CliRunner().invoke(cli, ["rsi", "prune", "--env=test"])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "the catalog's entry 'notes' has no text as its type" in result.output


def test_a_bad_rule_is_said() -> None:
    result = CliRunner().invoke(cli, ["rsi", "prune", "--env=test", "--params=keep.runs=0"])
    assert result.exit_code == 2
    assert "'keep.runs' is 0" in result.output


def test_nothing_is_deleted_while_a_run_is_active(made: Runs) -> None:
    made.make(OLD, "report", *(made.make(OLD, f"rsi.round_{number}.images") for number in (2, 3)))
    active = begin_run(made.data / "unfinished", NEW)
    result = CliRunner().invoke(cli, ["rsi", "prune", "--env=test", "--params=keep.rounds=1", "--delete"])
    assert result.exit_code == 1
    assert f"run {NEW} is active and may need these files; wait until it ends" in result.output
    active.remove()
    assert "Deleted" in prune("--params=keep.rounds=1", "--delete")


def test_a_run_of_another_host_is_named_with_what_frees_its_files(made: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [made.data / "unfinished" / f"{name}_{NEW}" for name in ("run", "key")]
    for folder in folders:
        folder.mkdir(parents=True)
    markers = [hold_elsewhere(folder / LOCK_NAME, monkeypatch) for folder in folders]
    advice = [f"(if it has ended, delete {marker})" for marker in markers]
    refused = CliRunner().invoke(cli, ["rsi", "prune", "--env=test", "--delete"]).output
    assert f"run {NEW} is active" in refused and f" on the host {HOST}" in refused and advice[0] in refused
    listed = CliRunner().invoke(cli, ["rsi", "runs", "--env=test"]).output
    assert f"{NEW}  running" in listed and f"{NEW} is made by process {os.getpid()} on the host {HOST}" in listed
    assert all(each in listed for each in advice)
    for marker in markers:
        marker.unlink()
    assert f"{NEW}  stopped" in CliRunner().invoke(cli, ["rsi", "runs", "--env=test"]).output
    assert CliRunner().invoke(cli, ["rsi", "prune", "--env=test", "--delete"]).exit_code == 0


def test_a_run_that_ends_while_it_is_looked_for_is_named(made: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([{NEW: "another process"}, {}])
    monkeypatch.setattr(Disk, "active", lambda disk: next(found))
    result = CliRunner().invoke(cli, ["rsi", "prune", "--env=test", "--params=keep.rounds=1", "--delete"])
    assert f"run {NEW} is active" in result.output


def test_each_runs_own_last_rounds_are_kept(made: Runs) -> None:
    made.make(OLD, "report", *(made.make(OLD, f"rsi.round_{number}.images") for number in (2, 3, 4)))
    made.make(MIDDLE, "report", made.make(MIDDLE, "rsi.round_2.images", seed=1), seed=1)
    made.make(NEW, "rsi.round_2.images", seed=2)
    listed = prune("--params=keep.rounds=1", "--delete")
    assert "round_2/images/" + OLD in listed
    assert MIDDLE not in listed
    assert NEW not in listed


PRUNE_SMALL_DISK = """
import subprocess, sys
from pathlib import Path
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
bootstrap_project(Path.cwd())
from rsidiff_kedro.cli import cli

data = sys.argv[1]
subprocess.run(f"cp -r {data} saved; mount -t tmpfs -o size=500k none {data}; cp -r saved/. {data}", shell=True)
remount = f"mount -o remount,ro {data}"
for before, command in ((f"cat /dev/zero > {data}/filling", "runs"), (remount, "runs"), (remount, "prune"),
                        (f"mount -o remount,rw {data}", "prune")):
    subprocess.run(before, shell=True, stderr=subprocess.DEVNULL)
    more = ["--params=keep.rounds=1", "--delete"] if command == "prune" else []
    done = CliRunner().invoke(cli, ["rsi", command, "--env=test", *more])
    print("exit code", done.exit_code, done.output if done.exit_code in (0, 1) else done.exception)
subprocess.run(f"rm -r saved; cp -r {data} saved", shell=True)
"""


def test_a_disk_that_is_read_only_or_full_is_listed_and_if_full_is_freed(made: Runs) -> None:
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system in a name space of its own")
    made.make(OLD, "report", *(made.make(OLD, f"rsi.round_{number}.images") for number in (1, 2)))
    for name in (f"key_{MIDDLE}", f"run_{NEW}"):
        (made.data / "unfinished" / name).mkdir(parents=True)
    command = ["unshare", "-rm", sys.executable, "-c", PRUNE_SMALL_DISK, "data/test"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=True)
    full, read_only, refused, deleted = done.stdout.split("exit code ")[1:]
    assert full == read_only
    assert full.startswith("0") and f"{OLD}  finished" in full
    assert refused.startswith("1") and "Read-only file system" in refused and "make it writable" in refused
    assert deleted.startswith("0") and "Deleted: 0" in deleted
    shutil.rmtree(made.data)
    Path("saved").rename(made.data)
    with pytest.raises(DatasetError, match="was pruned"):
        made.load(OLD, "rsi.round_1.images")
    assert not list(made.data.glob("**/round_1/**/*.png"))
    assert made.load(OLD, "rsi.round_2.images")


def test_a_marked_version_whose_files_exist_is_not_pruned(made: Runs) -> None:
    made.make(OLD, "report", *(made.make(OLD, f"rsi.round_{number}.images") for number in (1, 2)))
    (folder,) = made.data.glob("03_primary/rsi/round_1/images/*/images")
    before = content_digest(folder)
    (folder / PRUNED).touch()
    assert content_digest(folder) == before
    assert made.load(OLD, "rsi.round_1.images")
    assert "round_1" in prune("--params=keep.rounds=1", "--delete")
    assert "Nothing to delete" in prune("--params=keep.rounds=1", "--delete")


def test_a_prune_that_was_killed_is_finished_by_the_next(made: Runs) -> None:
    made.make(OLD, "report", *(made.make(OLD, f"rsi.round_{number}.images") for number in (1, 2)))
    (folder,) = made.data.glob("03_primary/rsi/round_1/images/*/images")
    shutil.rmtree(folder / "images")
    prune("--params=keep.rounds=1", "--delete")
    assert (folder / PRUNED).exists()
    (folder / PRUNED).unlink()
    prune("--params=keep.rounds=1", "--delete")
    assert (folder / PRUNED).exists()


@pytest.mark.parametrize("linked", ["images", "unfinished"])
def test_nothing_is_deleted_behind_a_link_and_the_rest_is(made: Runs, tmp_path: Path, linked: str) -> None:
    made.make(OLD, "report", *(made.make(OLD, f"rsi.round_{number}.images") for number in (1, 2, 3)))
    first, second, _ = sorted(made.data.glob("03_primary/rsi/round_*/images/*/images"))
    unfinished = made.data / "unfinished" / f"rsi.round_1.images_{OLD}"
    unfinished.mkdir(parents=True)
    for record in made.records.all():
        unfinished.rename(unfinished.with_name(f"{record.key}_{OLD}"))
        unfinished = unfinished.with_name(f"{record.key}_{OLD}")
    place = unfinished if linked == "unfinished" else first / linked
    elsewhere = place.rename(tmp_path / "elsewhere")
    place.symlink_to(elsewhere)
    before = content_digest(elsewhere)
    done = CliRunner().invoke(cli, ["rsi", "prune", "--env=test", "--params=keep.rounds=1", "--delete"])
    assert done.exit_code == 1
    assert f"{elsewhere}, and nothing is deleted there: delete that yourself, then the link" in done.output
    assert content_digest(elsewhere) == before
    assert (second / PRUNED).exists() and not (second / "images").exists()
    place.unlink()
    assert "Deleted" in prune("--params=keep.rounds=1", "--delete") or linked == "unfinished"
    assert "Nothing to delete" in prune("--params=keep.rounds=1", "--delete")


@pytest.mark.parametrize("linked", ["03_primary/rsi"])
def test_folders_above_may_lie_on_another_disk(made: Runs, tmp_path: Path, linked: str) -> None:
    made.make(OLD, "report", *(made.make(OLD, f"rsi.round_{number}.images") for number in (1, 2)))
    listed = CliRunner().invoke(cli, ["rsi", "runs", "--env=test"]).output
    (made.data / linked).rename(tmp_path / "elsewhere")
    (made.data / linked).symlink_to(tmp_path / "elsewhere")
    assert CliRunner().invoke(cli, ["rsi", "runs", "--env=test"]).output == listed
    assert "round_1" in prune("--params=keep.rounds=1", "--delete")
    assert "Nothing to delete" in prune("--params=keep.rounds=1", "--delete")
    with pytest.raises(DatasetError, match="was pruned"):
        made.load(OLD, "rsi.round_1.images")
