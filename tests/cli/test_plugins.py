"""`kedro rsi rewards` and `families` list what a run can name, and where its weights are."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from rsidiff_kedro.cli import cli
from rsidiff_kedro.core.registry import Registry
from rsidiff_kedro.diffusion.families import FAMILIES
from rsidiff_kedro.rewards.registry import REWARDS


def listed(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["rsi", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(name))


def test_every_reward_is_listed_with_its_use_and_weights(project: Path, reward_folder: Path) -> None:
    text = listed("rewards", f"--params=rewards.clip_score.checkpoint={reward_folder / 'clip'}")
    assert [line.split()[0] for line in text.splitlines()[1:]] == list(REWARDS.names)
    assert "selecting, reporting, the probe, weighting" in row(text, "proxy")
    assert row(text, "clip_score").endswith(f"{reward_folder / 'clip'} (on disk)")
    assert "xswu/HPSv2 (not downloaded)" in row(text, "hpsv2_1")


def test_without_selection_a_reward_is_only_reported_and_early_dropping_is_a_use(project: Path) -> None:
    dropping = "synthesis.early_dropping.after=2,synthesis.early_dropping.reward=oracle"
    text = listed("rewards", f"--params=preference_selection.enabled=false,{dropping}")
    assert "reporting, the probe, weighting" in row(text, "proxy") and "selecting" not in row(text, "proxy")
    assert "early dropping" in row(text, "oracle")


def test_a_missing_file_and_a_reward_of_ones_own_are_said(project: Path) -> None:
    params = "--params=rewards.clip_score.checkpoint=./none,evaluation.rewards=[mine:best]"
    text = listed("rewards", params)
    assert row(text, "clip_score").endswith("none (missing)")
    assert row(text, "mine:best").split()[1:4] == ["your", "own", "reporting"]


def test_families_are_listed_with_their_networks_and_the_base(project: Path) -> None:
    text = listed("families")
    assert row(text, "stable_diffusion_3").split(maxsplit=3)[1:] == [
        "rsidiff_kedro", "StableDiffusion3Pipeline", "text_encoder, text_encoder_2, transformer, vae",
    ]  # fmt: skip
    assert "model.base: scenes, with its package; of the family stable_diffusion" in text
    assert "CompVis/stable-diffusion-v1-4, not downloaded" in listed("families", "--env=sd14")


def test_installed_packages_are_named_and_a_broken_one_hides_no_other(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "packages" / "painters-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: painters\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{FAMILIES.group}]\nvermeer = no_such_painters:Vermeer\n")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    registry = Registry(FAMILIES.kind, FAMILIES.group, FAMILIES._own)
    monkeypatch.setattr("rsidiff_kedro.diffusion.families.FAMILIES", registry)
    text = listed("families")
    assert row(text, "vermeer").split()[1] == "painters" and "cannot be imported" in row(text, "vermeer")
    assert "StableDiffusionPipeline" in text
