"""conf/sd14 and conf/sd3 run as they stand, with small models and files in the place of what they name on the hub."""

import re
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from kedro.framework.session import KedroSession

from rsidiff_kedro.cli import cli
from rsidiff_kedro.hooks.runner import RsiRunner

SAMPLER = {"num_inference_steps": 2, "micro_batch_size": 4}
FAMILIES = {"sd14": "stable_diffusion", "sd3": "stable_diffusion_3"}


@pytest.fixture
def local(project: Path, family_folder, options: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return parameters with files in the hub's place, and sizes that run in seconds."""
    colors, shapes = ("red", "green", "blue", "yellow"), ("circle", "square", "triangle", "diamond")
    lines = [f"a {color} {shape}" for color in colors for shape in shapes]
    (project / "train.txt").write_text("\n".join(lines[:10]))
    rows = [f"{line} on black\t{line.split()[1]}" for line in lines]
    (project / "benchmark.tsv").write_text("\n".join(["Prompt\tCategory", *rows]))
    source = {"kind": "file", "path": "train.txt"}
    benchmark = {"kind": "file", "path": "benchmark.tsv", "column": "Prompt", "category_column": "Category"}
    names = ("image_reward", "pick_score", "clip_score")
    rewards = {name: {key: options[name][key] for key in ("checkpoint", "tokenizer")} for name in names}
    rewards["hpsv2"] = {key: options["hpsv2_1"][key] for key in ("checkpoint", "tokenizer")}
    return {
        "rounds": 1,
        "model": {"revision": None, "resolution": None},
        "sampler": SAMPLER,
        "rewards": rewards,
        "prompt_curation": {
            "source": source,
            "evaluation_source": benchmark,
            "probe": {"samples_per_prompt": 1, "sampler": SAMPLER},
            "pool_size": 5,
            "prompts_per_round": 4,
            "validation_size": 2,
            "test_size": 8,
        },
        "synthesis": {"samples_per_prompt": 2, "sampler": SAMPLER},
        "weighting": {"shrinkage": 0.5},
        "finetune": {"rank": 2, "steps": 2, "batch_size": 4},
        "evaluation": {"bootstrap_resamples": 50},
    }


@pytest.mark.parametrize("env", ["sd14", "sd3"])
def test_the_environment_runs(project: Path, local: dict[str, Any], family_folder, empty_store: Path, env: str) -> None:
    shutil.copy(empty_store, project)
    local["model"]["base"] = str(family_folder(FAMILIES[env]))
    with KedroSession.create(project, env=env, runtime_params=local) as session:
        session.run(pipeline_names=["rsi"], runner=RsiRunner())
        catalog = session.load_context().catalog
    metrics = catalog.load("rsi.round_1.metrics")
    assert {"test/reward/hpsv2_1", "test/reward/image_reward", "test/reward/pick_score"} <= metrics.keys()
    assert not any("proxy" in name for name in metrics)
    assert "pick_score" not in catalog.load("rsi.round_1.scores")
    assert set(catalog.load("category_scores")["category"]) == {"red", "green", "blue", "yellow"}
    assert (project / "data" / env / "06_models").is_dir()


@pytest.mark.parametrize("env", ["sd14", "sd3"])
def test_the_doctor_names_what_the_environment_lacks(
    project: Path, monkeypatch: pytest.MonkeyPatch, env: str, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    result = CliRunner().invoke(cli, ["rsi", "doctor", f"--env={env}"])
    lines = {re.split("  +", line[9:])[0]: line for line in result.output.splitlines() if len(line) > 9}
    assert result.exit_code == 1, result.output
    assert lines["parameters"].startswith("ok")
    rewards = [f"reward: {name}" for name in ("hpsv2_1", "image_reward", "pick_score")]
    subjects = (*rewards, "features: clip_score", "prompts", "model")
    assert all(lines[subject].startswith("MISSING") for subject in subjects), result.output


@pytest.mark.parametrize("env", ["sd14", "sd3"])
def test_a_section_that_an_environment_does_not_have_is_missed_only_by_its_pipeline(project: Path, env: str) -> None:
    with KedroSession.create(project, env=env) as session:
        parameters = session.load_context().params  # as in a notebook, where every pipeline's parameters are validated
    assert "base_model" not in parameters
    with KedroSession.create(project, env=env) as session, pytest.raises(click.UsageError) as caught:
        session.run(pipeline_names=["base_model"], runner=RsiRunner())
    assert caught.value.message == "the parameters have no section 'base_model'; name one with --env that has it"
