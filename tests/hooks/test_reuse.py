"""A run reads what it made itself, or what a record says is the same."""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import AbstractVersionedDataset, CachedDataset, DataCatalog, MemoryDataset
from kedro.io.core import Version
from kedro.pipeline import Pipeline, node
from kedro.runner import AbstractRunner, SequentialRunner
from kedro_datasets.json import JSONDataset

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.datasets import AdapterDataset
from rsidiff_kedro.hooks.reuse import ReuseHooks
from rsidiff_kedro.hooks.runner import RsiRunner
from rsidiff_kedro.pipelines.stage import TRAINS
from rsidiff_kedro.provenance.records import Records

Run = Callable[..., list[str]]
STEPS = ["generate", "score", "report"]


def run_with_records(
    pipeline: Pipeline,
    catalog: DataCatalog,
    folder: Path,
    run_id: str,
    reuse: bool = True,
    runner: AbstractRunner | None = None,
) -> None:
    """Run as Kedro does, with the records in this folder."""
    hooks = ReuseHooks(folder)
    manager = _create_hook_manager()
    manager.register(hooks)
    given = {"only_missing_outputs": reuse, "run_id": run_id}
    manager.hook.before_pipeline_run(run_params=given, pipeline=pipeline, catalog=catalog)
    (runner or RsiRunner()).run(pipeline, catalog, manager, only_missing_outputs=reuse)
    manager.hook.after_pipeline_run(run_params=given, run_result={}, pipeline=pipeline, catalog=catalog)


@pytest.fixture
def run(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("1", steps=3, reuse=True)`: runs generate → score → report as run 1; gives the steps that were computed."""
    monkeypatch.setattr(logging.getLogger("rsidiff_kedro"), "propagate", True)
    caplog.set_level(logging.INFO, "rsidiff_kedro")

    def run(
        run_id: str,
        reuse: bool = True,
        fails: str = "",
        only: Sequence[str] = STEPS,
        runner: AbstractRunner | None = None,
        **parameters: object,
    ) -> list[str]:
        computed: list[str] = []

        def step(name: str) -> Callable[..., object]:
            def compute(*inputs: object) -> object:
                computed.append(name)
                if name == fails:
                    raise RuntimeError(name)
                return [name, *inputs]

            return compute

        values = {"seed": 0, "steps": 3} | parameters
        catalog = DataCatalog({f"params:{name}": MemoryDataset(value) for name, value in values.items()})
        for name in ("images", "scores", "page"):
            catalog[name] = JSONDataset(filepath=str(tmp_path / f"{name}.json"), version=Version(None, run_id))
        pipeline = Pipeline(
            [
                node(step("generate"), ["params:seed"], "images", name="generate"),
                node(step("score"), ["images", "params:steps"], "scores", name="score"),
                node(step("report"), ["scores"], "page", name="report"),
            ]
        )
        monkeypatch.setattr("rsidiff_kedro.hooks.reuse.pipelines", {"all": pipeline})
        try:
            run_with_records(pipeline.only_nodes(*only), catalog, tmp_path, run_id, reuse, runner)
        except RuntimeError:
            assert fails
        else:
            assert "report" not in only or catalog.load("page")[0] == "report"
        return computed

    return run


def test_a_plain_run_makes_everything(run: Run) -> None:
    assert run("1", reuse=False) == STEPS
    assert run("2", reuse=False) == STEPS


def test_what_is_the_same_is_reused(run: Run) -> None:
    run("1", reuse=False)
    assert run("2") == []


def test_a_changed_parameter_redoes_what_depends_on_it_and_says_so(run: Run, caplog) -> None:
    run("1")
    assert run("2", steps=4) == ["score", "report"]
    assert "score: steps is 4, was 3" in caplog.text
    assert "1 step reads what these make; each runs unless its inputs turn out the same" in caplog.text
    assert "1 of 3 steps are reused" in caplog.text


def test_the_number_of_threads_counts_for_what_trains_alone(tmp_path: Path) -> None:
    hooks = ReuseHooks(tmp_path)
    hooks._run_id = "1"
    steps = [node(list, None, name, name=name, tags=tags) for name, tags in {"a": [], "b": [TRAINS]}.items()]
    keys = []
    for threads in (None, 1, 2):
        hooks._threads = threads
        keys.append([hooks._describe(step).key for step in steps])
    (first, *others), trained = zip(*keys, strict=True)
    assert set(others) == {first}
    assert len(set(trained)) == 3


def test_kedros_own_runner_keeps_records_too(run: Run) -> None:
    assert run("1", runner=SequentialRunner()) == STEPS
    assert run("2", steps=4, runner=SequentialRunner()) == ["score", "report"]
    assert run("3", steps=4) == []
    assert run("4", steps=4, runner=SequentialRunner()) == []


def test_going_back_to_earlier_parameters_reuses_what_they_made(run: Run) -> None:
    run("1")
    run("2", steps=4)
    assert run("3") == []


def test_a_run_that_went_back_is_the_last_and_one_that_repeats_it_is_not_recorded(run: Run, tmp_path: Path) -> None:
    for version, steps in {"1": 3, "2": 4, "3": 3, "4": 3}.items():
        run(version, steps=steps)
    ended = Records(tmp_path / "lineage").ended()
    assert [*sorted(ended)] == ["1", "2", "3"] and ended["3"] == ended["1"] != ended["2"]


def test_a_run_that_failed_goes_on_where_it_stopped(run: Run) -> None:
    assert run("1", fails="score") == ["generate", "score"]
    assert run("2") == ["score", "report"]


def test_a_deleted_output_is_made_again(run: Run, tmp_path: Path, caplog) -> None:
    run("1")
    shutil.rmtree(tmp_path / "images.json" / "1")
    assert run("2") == ["generate"]
    assert "generate: images is gone" in caplog.text


def test_an_output_without_a_record_is_not_trusted(run: Run, tmp_path: Path) -> None:
    run("1")
    shutil.rmtree(tmp_path / "lineage")
    assert run("2") == STEPS


def test_a_run_does_not_read_what_a_run_beside_it_made(run: Run, tmp_path: Path) -> None:
    run("1", seed=1)
    other = tmp_path / "images.json" / "9" / "images.json"
    other.parent.mkdir()
    other.write_text('["stranger"]')
    run("2", reuse=False, seed=2)
    assert "stranger" not in (tmp_path / "page.json" / "2" / "page.json").read_text()
    assert run("3", seed=1) == []


def test_a_damaged_output_is_made_again(run: Run, tmp_path: Path, caplog) -> None:
    run("1")
    (tmp_path / "images.json" / "1" / "images.json").write_text('["gen')
    assert run("2") == ["generate"]
    assert "generate: images is damaged: it is not what was saved" in caplog.text


def test_kedros_own_runner_makes_again_what_is_damaged(run: Run, tmp_path: Path) -> None:
    run("1")
    (tmp_path / "images.json" / "1" / "images.json").write_text('["stranger"]')
    assert run("2", runner=SequentialRunner()) == STEPS
    assert "stranger" not in (tmp_path / "page.json" / "2" / "page.json").read_text()


def test_a_clock_that_jumps_back_misleads_nobody(run: Run, tmp_path: Path) -> None:
    run("2026-02-02T10.00.00.000Z", seed=1)
    assert run("2026-02-01T09.00.00.000Z", reuse=False, seed=2) == STEPS
    assert run("2026-02-01T09.00.01.000Z", seed=2) == []
    assert run("2026-02-01T09.00.02.000Z", seed=1) == []


@pytest.fixture
def run_pruned(tmp_path: Path) -> Callable[..., tuple[list[str], DataCatalog]]:
    """`run_pruned("1", steps=1, prune=["adapter"])`: runs start → train → read as run 1, and then prunes.

    Returns the steps that were computed, and the catalog.
    """

    def run(run_id: str, steps: int, prune: Sequence[str] = ()) -> tuple[list[str], DataCatalog]:
        computed: list[str] = []

        def start(seed: int) -> Adapter:
            computed.append("start")
            return Adapter({"unet.a": torch.full((2,), float(seed))})

        def train(adapter: Adapter) -> Adapter:
            computed.append("train")
            return Adapter({"unet.a": adapter.weights["unet.a"] + 1})

        def read(adapter: Adapter, steps: int) -> dict[str, float]:
            computed.append("read")
            return {"sum": float(adapter.weights["unet.a"].sum()) * steps}

        pipeline = Pipeline(
            [
                node(start, "params:seed", "adapter", name="start"),
                node(train, "adapter", "candidate", name="train"),
                node(read, ["candidate", "params:steps"], "metrics", name="read"),
            ]
        )
        catalog = DataCatalog({"params:seed": MemoryDataset(3), "params:steps": MemoryDataset(steps)})
        for name in ("adapter", "candidate"):
            catalog[name] = AdapterDataset(filepath=str(tmp_path / name), version=Version(None, run_id))
        catalog["metrics"] = JSONDataset(filepath=str(tmp_path / "metrics"), version=Version(None, run_id))
        run_with_records(pipeline, catalog, tmp_path, run_id)
        for name in prune:
            catalog[name].prune(run_id)
        return computed, catalog

    return run


def test_a_pruned_output_is_made_again_only_if_a_step_reads_it(run_pruned: Callable[..., Any]) -> None:
    run_pruned("1", steps=1, prune=["candidate"])
    assert run_pruned("2", steps=1)[0] == []
    computed, catalog = run_pruned("3", steps=2)
    assert computed == ["train", "read"]
    assert catalog.load("metrics") == {"sum": 16.0}


def test_what_a_pruned_output_was_made_from_is_made_again_if_it_is_pruned_too(run_pruned: Callable[..., Any]) -> None:
    run_pruned("1", steps=1, prune=["adapter", "candidate"])
    assert run_pruned("2", steps=1)[0] == []
    computed, catalog = run_pruned("3", steps=2)
    assert computed == ["start", "train", "read"]
    assert catalog.load("metrics") == {"sum": 16.0}


def test_a_pruned_output_that_no_running_step_reads_stays_pruned(run_pruned: Callable[..., Any]) -> None:
    run_pruned("1", steps=1, prune=["adapter"])
    computed, catalog = run_pruned("2", steps=2)
    assert computed == ["read"]
    assert catalog["adapter"].is_pruned()


def test_a_record_names_the_version_that_was_read_after_a_pruned_one(
    run_pruned: Callable[..., Any], tmp_path: Path
) -> None:
    run_pruned("1", steps=1, prune=["candidate"])
    run_pruned("2", steps=2)
    records = Records(tmp_path / "lineage").all()
    read = next(each for each in records if each.step == "read" and each.version == "2")
    made = next(each for each in records if each.step == "train" and each.version == "2")
    assert read.origins == {"candidate": "2"}
    assert read.inputs == made.outputs
    assert run_pruned("3", steps=2)[0] == []


def test_what_a_step_made_of_a_tampered_input_is_not_taken_for_the_real_thing(run: Run, tmp_path: Path) -> None:
    run("1")
    (tmp_path / "images.json" / "1" / "images.json").write_text('["generate", "tampered"]')
    assert run("2", only=["score"], reuse=False) == ["score"]
    assert run("3") == ["generate"]
    page = max((tmp_path / "page.json").glob("*/page.json")).read_text()
    assert "tampered" not in page


def test_a_part_reads_what_its_parameters_make_and_not_the_newest(run: Run, tmp_path: Path, caplog) -> None:
    run("1", seed=1)
    run("2", seed=2)
    run("3", seed=1, only=["score"], steps=9)
    record = next(each for each in Records(tmp_path / "lineage").all() if each.version == "3")
    first = next(each for each in Records(tmp_path / "lineage").all() if "images" in each.outputs)
    assert (first.version, record.origins["images"], record.inputs["images"]) == ("1", "1", first.outputs["images"])
    assert "no version was made with these parameters" not in caplog.text
    run("4", seed=7, only=["score"])
    assert "no version was made with these parameters; read instead: images of 2" in caplog.text
    run("5", seed=1)
    run("6", seed=7, only=["score"])
    assert "read instead: images of 1" in caplog.text
    shutil.rmtree(tmp_path / "images.json" / "1")
    caplog.clear()
    run("7", seed=7, only=["score"])
    assert "read instead: images of 2" in caplog.text


def test_the_reason_is_the_difference_to_what_is_most_alike(run: Run, caplog) -> None:
    run("1", seed=1)
    run("2", seed=2, steps=5)
    caplog.clear()
    run("3", seed=1, steps=4)
    assert "score: steps is 4, was 3" in caplog.text


def test_runs_with_the_same_parameters_keep_their_own_records(run: Run, tmp_path: Path) -> None:
    run("1", reuse=False)
    run("2", reuse=False)
    assert sorted({record.version for record in Records(tmp_path / "lineage").all()}) == ["1", "2"]
    for name in ("images", "scores", "page"):
        shutil.rmtree(tmp_path / f"{name}.json" / "2")
    assert run("3") == []


class Beside(AbstractVersionedDataset[Any, Any]):
    """A dataset of one's own, which adds an ending to its path and cannot tell whether it exists."""

    def load(self) -> Any:
        return json.loads(Path(f"{self._get_load_path()}.npz").read_text("utf-8"))

    def save(self, data: Any) -> None:
        path = Path(f"{self._get_save_path()}.npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data), "utf-8")

    def _describe(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def run_chain(tmp_path: Path) -> Callable[..., list[str]]:
    """`run_chain("1", seed=2)`: runs halve → double → name as run 1; returns the steps that were computed.

    `halve` makes the same of 2 and 3; what it makes is versioned, not versioned, or saved in the way of `place`, of a
    path and a version.
    """

    def run(run_id: str, seed: int, versioned: bool = True, place: Callable[..., Any] | None = None) -> list[str]:
        computed: list[str] = []

        def halve(seed: int) -> dict[str, int]:
            computed.append("halve")
            return {"half": seed // 2}

        def double(halved: dict[str, int]) -> dict[str, int]:
            computed.append("double")
            return {"twice": halved["half"] * 2}

        def name(doubled: dict[str, int]) -> dict[str, str]:
            computed.append("name")
            return {"name": str(doubled["twice"])}

        pipeline = Pipeline(
            [
                node(halve, "params:seed", "halved", name="halve"),
                node(double, "halved", "doubled", name="double"),
                node(name, "doubled", "named", name="name"),
            ]
        )
        catalog = DataCatalog({"params:seed": MemoryDataset(seed)})
        path, version = str(tmp_path / "halved.json"), Version(None, run_id) if versioned else None
        made = JSONDataset(filepath=path, version=version) if place is None else place(path, version)
        if made is not None:
            catalog["halved"] = made
        for each in ("doubled", "named"):
            catalog[each] = JSONDataset(filepath=str(tmp_path / f"{each}.json"), version=Version(None, run_id))
        run_with_records(pipeline, catalog, tmp_path, run_id)
        assert catalog.load("named") == {"name": str(seed // 2 * 2)}
        return computed

    return run


def test_a_change_that_makes_the_same_again_stops_there(run_chain: Callable[..., list[str]], tmp_path: Path) -> None:
    assert run_chain("1", seed=2) == ["halve", "double", "name"]
    assert run_chain("2", seed=3) == ["halve"]
    assert not (tmp_path / "doubled.json" / "2").exists()
    assert run_chain("3", seed=3) == []
    assert run_chain("4", seed=4) == ["halve", "double", "name"]


def test_an_output_that_is_not_versioned_is_never_reused_and_lies_where_it_belongs(
    run_chain: Callable[..., list[str]], tmp_path: Path
) -> None:
    run_chain("1", seed=2, versioned=False)
    assert run_chain("2", seed=2, versioned=False) == ["halve"]
    assert (tmp_path / "halved.json").is_file()
    assert run_chain("3", seed=3, versioned=False) == ["halve"]  # the same content, so what reads it is reused
    assert run_chain("4", seed=4, versioned=False) == ["halve", "double", "name"]


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize(
    "place",
    [
        lambda path, version: None,
        lambda path, version: JSONDataset(filepath=f"memory://{path}", version=version),
        lambda path, version: Beside(filepath=Path(path), version=version),
        lambda path, version: CachedDataset({"type": JSONDataset, "filepath": path}, version),
    ],
    ids=["in memory", "in a bucket", "beside its path", "cached"],
)
def test_an_output_without_a_digest_is_never_reused_and_stands_for_what_made_it(
    run_chain: Callable[..., list[str]], place: Callable[..., Any], versioned: bool
) -> None:
    run = partial(run_chain, versioned=versioned, place=place)
    run("1", seed=2)
    assert run("2", seed=2) == ["halve"]
    assert run("3", seed=3) == ["halve", "double"]  # its content is the same, but has no digest
    assert run("4", seed=4) == ["halve", "double", "name"]
