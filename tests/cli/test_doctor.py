"""`kedro rsi doctor` says what a run would lack, all of it at once, and computes nothing."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rsidiff_kedro.cli.commands import cli


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["rsi", "doctor", *arguments])


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


@pytest.mark.parametrize("family", ["stable_diffusion", "stable_diffusion_xl", "stable_diffusion_3"])
def test_weights_are_counted_in_each_family(project: Path, family_folder, family: str) -> None:
    result = doctor(f"--params=evaluation.judge=null,model.family={family},model.base={family_folder(family)}")
    assert result.exit_code == 0, result.output
    assert line(result, "weights: vae")
    assert "of 32 pixels a side" in line(result, "disk")


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


def test_preference_models_are_named_with_their_size(project: Path) -> None:
    assert line(doctor(), "reward: proxy").endswith("comes with the package")


def test_memory_that_does_not_suffice_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsidiff_kedro.cli.doctor._device_memory", lambda device: 1_000_000)
    assert "MISSING" in line(doctor(), "memory: finetune")


def test_what_is_replayed_counts_as_written(project: Path) -> None:
    def images(rounds: int, replay_base: str) -> int:
        params = f"prompt_curation.prompts_per_round=100,finetune.replay_rounds=0,finetune.replay_base={replay_base}"
        said = line(doctor(f"--params=rounds={rounds},preference_selection.keep_per_prompt=3,{params}"), "disk")
        return int(said.split(" for ")[1].split(" images")[0])

    assert images(1, "true") == images(1, "false")
    assert images(4, "true") - images(4, "false") == 3 * 100 * 3


def test_a_disk_that_does_not_suffice_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(1, 0, 1))
    assert "MISSING" in line(doctor(), "disk")
