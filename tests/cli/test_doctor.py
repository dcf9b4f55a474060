"""`kedro rsi doctor` says what a run would lack, all of it at once, and computes nothing."""

import errno
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rsidiff_kedro.cli import cli
from rsidiff_kedro.core.files import size_text


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["rsi", "doctor", *arguments])


def lose_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a user whom the machine does not know, as in a container that runs with a number alone."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])


def line(result: Result, subject: str) -> str:
    return next(line for line in result.output.splitlines() if line[9:].startswith(subject))


def test_the_default_lacks_nothing(project: Path) -> None:
    result = doctor()
    assert result.exit_code == 0, result.output
    assert result.output.endswith("Nothing is missing.\n")
    assert "M parameters" in line(result, "weights: unet")
    assert not (project / "data").exists()


def test_everything_that_is_missing_is_said_at_once(project: Path) -> None:
    result = doctor("--params", "model.base=/no/such/folder,evaluation.rewards=[beauty]")
    assert result.exit_code == 1
    assert "MISSING" in line(result, "model") and "/no/such/folder" in line(result, "model")
    assert "MISSING" in line(result, "reward: beauty") and "'beauty'; there are" in line(result, "reward: beauty")
    assert result.output.endswith("2 missing\n")


def test_a_wrong_parameter_is_said(project: Path) -> None:
    result = doctor("--env=test", "--params=rounds=0")
    assert result.exit_code == 1
    assert "'rounds' is 0" in line(result, "parameters")


@pytest.mark.parametrize("family", ["stable_diffusion", "stable_diffusion_xl", "stable_diffusion_3", "flux", "sana"])
def test_weights_are_counted_in_each_family(project: Path, family_folder, family: str) -> None:
    result = doctor(f"--params=evaluation.judge=null,model.family={family},model.base={family_folder(family)}")
    assert result.exit_code == 0, result.output
    assert line(result, "weights: vae")
    assert f"of {256 if family == 'flux' else 32} pixels per side" in line(result, "disk")  # Flux names no size


def test_lacking_weights_are_said(project: Path, family_folder) -> None:
    folder = shutil.copytree(family_folder("stable_diffusion"), project / "model")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    result = doctor(f"--params=model.base={folder}")
    assert result.exit_code == 1
    assert "lacks unet" in line(result, "model")
    assert "weights" not in [line[9:16] for line in result.output.splitlines()]


@pytest.mark.parametrize(
    ("name", "subject", "said"),
    [
        ("unet/config.json", "model", "is not JSON of a pipeline"),
        ("unet/diffusion_pytorch_model.safetensors", "model", "is cut or no"),
        ("text_encoder/model.safetensors", "model", "is cut or no"),
    ],
)
def test_a_broken_file_is_said(project: Path, family_folder, name: str, subject: str, said: str) -> None:
    folder = shutil.copytree(family_folder("stable_diffusion"), project / "model")
    (folder / name).write_bytes(b"{")
    result = doctor(f"--params=model.base={folder}")
    assert result.exit_code == 1
    assert said in line(result, subject)


@pytest.mark.parametrize(
    ("argument", "code"), [("--params=model.device=mps", 1), ("--params=model.family=flux", 1), ("--env=nowhere", 2)]
)
def test_no_mistake_ends_in_a_traceback(project: Path, argument: str, code: int) -> None:
    result = doctor(argument)
    assert result.exit_code == code
    assert isinstance(result.exception, SystemExit)


def test_preference_models_are_named_with_their_size(project: Path, reward_folder: Path) -> None:
    checkpoint = reward_folder / "clip"
    size = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
    folders = f"checkpoint={checkpoint},rewards.clip_score.tokenizer={reward_folder / 'clip_tokenizer'}"
    result = doctor(f"--params=evaluation.rewards=[clip_score],rewards.clip_score.{folders}")
    assert line(result, "reward: proxy").endswith("needs no checkpoint")
    assert line(result, "reward: clip_score").endswith(f"{checkpoint}, {size_text(size)}")


def test_memory_that_does_not_suffice_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsidiff_kedro.cli.doctor._device_memory", lambda device: 1_000_000)
    assert "MISSING" in line(doctor(), "memory: finetune")


def test_what_is_replayed_counts_as_written(project: Path) -> None:
    def gigabytes(rounds: int, base: str) -> float:
        params = f"prompt_curation.prompts_per_round=100,replay.rounds=0,replay.base={base},model.resolution=1024"
        said = line(doctor(f"--params=rounds={rounds},preference_selection.keep_per_prompt=3,{params}"), "disk")
        size, unit = said.split("about ")[1].split()[:2]
        assert unit == "GB"
        return float(size)

    latents = 3 * 100 * 3  # the base's, in rounds 2 to 4
    assert gigabytes(1, "true") == gigabytes(1, "false")
    assert gigabytes(4, "true") - gigabytes(4, "false") == pytest.approx(latents * 1024**2 / 1e9, abs=0.1)


def test_a_disk_that_does_not_suffice_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(1, 0, 1))
    assert "MISSING" in line(doctor(), "disk")


def seal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse files in a folder, as a mount without the right to write does, also for root."""
    make = tempfile.TemporaryFile

    def refuse(dir: Path) -> Any:
        if dir == folder:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir))
        return make(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)


@pytest.mark.parametrize(
    "name",
    [".", "data", "data/test/lineage", "data/test/unfinished", "data/test/03_primary/rsi/round_1/images", "elsewhere"],
)
def test_a_folder_that_cannot_be_written_is_said(project: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (project / name).mkdir(parents=True, exist_ok=True)
    if name == "elsewhere":
        entry = (
            f"{{type: rsidiff_kedro.datasets.TextDataset, filepath: {project}/elsewhere/report.html, versioned: true}}"
        )
        (project / "conf" / "local").mkdir(exist_ok=True)
        (project / "conf" / "test" / "catalog_own.yml").write_text(f"report: {entry}\n", encoding="utf-8")
    seal((project / name).resolve(), monkeypatch)
    result = doctor("--env=test")
    assert result.exit_code == 1
    place = (project / name).resolve()
    assert f"{place} cannot be written (Read-only file system)" in line(result, "folders")
    assert line(result, "folders").startswith("MISSING") and result.output.endswith("1 missing\n")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{type: polars.CSVDataset, filepath: p.csv}", "'collected_prompts'"),
        ("{type: pandas.CSVDataset, filepath: p.csv, credentials: mine}", "Unable to find credentials 'mine'"),
    ],
)
def test_a_dataset_that_cannot_be_made_is_said(
    project: Path, monkeypatch: pytest.MonkeyPatch, entry: str, said: str
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)  # as where it is not installed
    (project / "conf" / "test" / "catalog_own.yml").write_text(f"collected_prompts: {entry}\n", encoding="utf-8")
    result = doctor("--env=test")
    assert result.exit_code == 1
    assert line(result, "catalog").startswith("MISSING") and said in line(result, "catalog")


def test_a_store_of_mlflow_that_cannot_be_written_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (project / "mlflow.db").touch()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "mlflow.db" and access(path, mode))
    result = doctor("--env=test")
    assert result.exit_code == 1 and "mlflow.db, which MLflow's store needs, belongs to" in line(result, "MLflow")
    assert result.output.endswith("1 missing\n")


def test_a_home_folder_that_is_lacking_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lose_home(monkeypatch)
    result = doctor("--env=test")
    assert result.exit_code == 1
    assert "MLflow needs a home folder, and this user has none; set HOME to" in line(result, "MLflow")
    assert result.output.endswith("1 missing\n")
    (project / "conf" / "test" / "mlflow.yml").write_text("tracking: {enabled: false}\n", encoding="utf-8")
    assert doctor("--env=test").exit_code == 0
    assert "'~/model' needs a home folder" in line(doctor("--env=test", "--params=model.base=~/model"), "parameters")
    (project / "conf" / "test" / "globals.yml").write_text("extends: scenes\ndata: ~/data\n", encoding="utf-8")
    result = doctor("--env=test")
    assert result.exit_code == 2 and "Error: the path '~/data' needs a home folder" in result.output


def test_prompts_that_the_shipped_models_do_not_know_are_refused(project: Path) -> None:
    prompts = project / "prompts.csv"
    prompts.write_text("Prompt\n" + "".join(f"a fox in snow {number}\n" for number in range(30)), encoding="utf-8")
    sizes = "pool_size: 10, prompts_per_round: 5, validation_size: 5, test_size: 5"
    source = f"prompt_curation={{source: {{kind: file, path: {prompts}}}, {sizes}}}"
    result = doctor("--env=test", f"--params={source},evaluation.judge=null")
    assert result.exit_code == 1
    assert "the reward 'proxy' cannot read the prompt 'a fox" in line(result, "prompts")
