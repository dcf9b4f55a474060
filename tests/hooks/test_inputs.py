"""Before a run, what its stages require is checked, and nothing of other stages."""

import shutil
from pathlib import Path
from typing import Any

import click
import pytest

from rsidiff_kedro.diffusion import opening
from rsidiff_kedro.hooks.session import RsiSession

NO_REWARD = {"evaluation": {"rewards": ["beauty"]}}
NO_FEATURES = {"weighting": {"features": "beauty"}}
NO_MODEL = {"model": {"base": "/no/such/folder"}}


def run(project: Path, stage: str, params: dict[str, Any]) -> None:
    with RsiSession.create(project, env="test", runtime_params=params) as session:
        session.run(pipeline_names=[stage])


@pytest.mark.parametrize(
    ("stage", "params", "said"),
    [
        ("gate", NO_REWARD, "unknown reward 'beauty'"),
        ("evaluation", NO_REWARD, "unknown reward 'beauty'"),
        ("weighting", NO_FEATURES, "unknown features 'beauty'"),
        ("prompt_curation", NO_MODEL, "/no/such/folder"),
        ("synthesis", NO_MODEL, "/no/such/folder"),
        ("finetune", NO_MODEL, "/no/such/folder"),
        ("rsi", NO_REWARD, "unknown reward 'beauty'"),
    ],
)
def test_what_a_stage_requires_is_checked_first(project: Path, stage: str, params: dict[str, Any], said: str) -> None:
    with pytest.raises(click.UsageError, match=said) as error:
        run(project, stage, params)
    assert "\n" not in error.value.message
    assert not (project / "data").exists()


@pytest.mark.parametrize(
    ("stage", "params"),
    [
        ("report", NO_REWARD),
        ("report", NO_FEATURES),
        ("report", NO_MODEL),
        ("weighting", NO_REWARD),
        ("weighting", NO_MODEL),
        ("synthesis", NO_REWARD),
        ("finetune", NO_FEATURES),
        ("preference_selection", NO_MODEL),
    ],
)
def test_what_only_other_stages_require_is_not_checked(project: Path, stage: str, params: dict[str, Any]) -> None:
    with pytest.raises(click.ClickException, match="which the run reads, does not exist") as error:
        run(project, stage, params)  # it gets as far as the data, which nobody made
    assert not isinstance(error.value, click.UsageError)


def test_scores_of_an_earlier_run_that_lack_what_is_measured_stop_a_run(finished_project: Path) -> None:
    reported = {"evaluation": {"rewards": ["proxy", "oracle"]}, "gate": {"enabled": False}}
    before = sorted(finished_project.rglob("*.parquet"))
    with pytest.raises(click.ClickException, match=r"validation_scores holds no scores of the reward 'oracle' .* all"):
        run(finished_project, "evaluation", reported)
    fewer = {"evaluation": {"judge": None}, "gate": {"enabled": False}}
    with (
        RsiSession.create(finished_project, env="test", runtime_params=fewer) as session,
        pytest.raises(
            click.ClickException, match=r"this run makes rsi.round_1.test_scores without verdicts of a judge"
        ),
    ):
        session.run(pipeline_names=["rsi"], from_inputs=["rsi.round_1.test_images"])
    assert sorted(finished_project.rglob("*.parquet")) == before


def test_a_run_that_reuses_every_step_checks_no_model_and_one_that_makes_a_step_does(
    finished_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = shutil.copytree(finished_project, tmp_path / "copy", symlinks=True)  # it is changed
    checked: list[str] = []
    monkeypatch.setattr(opening, "check_model", lambda model: checked.append(model.base))

    def resume(params: dict[str, Any]) -> list[str]:
        with RsiSession.create(project, env="test", runtime_params=params) as session:
            session.run(pipeline_names=["gate"], only_missing_outputs=True)
        return [checked.pop() for _ in checked[:]]

    assert resume({}) == []
    assert resume({"gate": {"tolerance": 0.25}}) == ["scenes"]
    assert resume({}) == []
