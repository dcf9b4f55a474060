"""The option that writes the table, and sound models, checkpoints and data of a run to be damaged."""

import os
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
from cases.case import Materials, with_params
from cases.command import in_this_process

CHEAP = (
    "rounds=1",
    "sampler.num_inference_steps=1",
    "synthesis.sampler.num_inference_steps=1",
    "evaluation.judge=null",
    "gate.enabled=false",
    "prompt_curation.enabled=false",
)
READ_LATER = ("rsi.round_1.validation_scores", "rsi.round_1.scores", "rsi.round_0.test_scores")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is out of reach, here and in processes, so that the same is said everywhere."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def materials(
    family_folder: Callable[[str], Path],
    reward_folder: Path,
    new_project: Callable[[Path], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Materials:
    def finish_a_run() -> Path:
        project, before = new_project(tmp_path_factory.mktemp("finished")), Path.cwd()
        (project / "conf" / "test" / "mlflow.yml").write_text("tracking: {enabled: false}\n")
        os.chdir(project)
        outcome = in_this_process(project, (*with_params(*CHEAP), f"--to-outputs={','.join(READ_LATER)}"))
        os.chdir(before)
        assert outcome.code == 0, outcome.output
        return project / "data" / "test"

    return Materials(
        family_folder("stable_diffusion"), family_folder("stable_diffusion_xl"), reward_folder, finish_a_run
    )
