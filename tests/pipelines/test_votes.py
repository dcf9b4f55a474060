"""Votes select in a real run, and in a round of its own after votes on the round before."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from PIL import Image

from rsidiff_kedro.cli import cli
from rsidiff_kedro.core.votes import Votes
from rsidiff_kedro.hooks.runner import RsiRunner
from rsidiff_kedro.pipelines.requirements import RequirementError
from rsidiff_kedro.rewards.registry import load_reward
from rsidiff_kedro.rewards.settings import RewardsSettings, VotesSettings

GiveVotes = Callable[..., Votes]
SETTINGS = {"features": "proxy", "min_votes": 10}


@pytest.fixture(scope="module")
def project(finished_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished project: its newest datasets are no longer those of its run."""
    return shutil.copytree(finished_project, tmp_path_factory.mktemp("votes") / "project", symlinks=True)


def brightness(image: Image.Image) -> float:
    return float(np.asarray(image).mean())


def run(project: Path, votes: Path, params: dict[str, Any], **options: Any) -> Any:
    """Run with the votes as the only reward that selects; give the session's catalog of newest versions."""
    bootstrap_project(project)
    selecting = {"rewards": {"proxy": 0, "votes": 1.0}, "keep_per_prompt": 1, "max_gap": None}
    given = {"preference_selection": selecting, "rewards": {"votes": {"votes": str(votes), **SETTINGS}}, **params}
    with KedroSession.create(project, env="test", runtime_params=given) as session:
        catalog = session.load_context().catalog
        session.run(runner=RsiRunner(), **options)
        return catalog  # which looks for versions when it loads


def test_the_samples_that_the_head_prefers_are_kept(project: Path, give_votes: GiveVotes) -> None:
    votes = give_votes(brightness, 24).folder
    catalog = run(
        project,
        votes,
        {"rounds": 1},
        pipeline_names=["rsi"],
        to_outputs=["rsi.round_1.selection"],
        only_missing_outputs=True,
    )
    selection, images = catalog.load("rsi.round_1.selection"), catalog.load("rsi.round_1.images")
    assert "proxy" not in selection
    reward = load_reward("votes", **RewardsSettings(votes=VotesSettings(votes=votes, **SETTINGS)).options("votes"))
    scores = reward.score(images.images, images.metadata["text"].tolist())
    assert selection["votes"].to_numpy() == pytest.approx(scores, abs=1e-5)
    best = selection.groupby("prompt_id")["votes"].idxmax()
    assert set(selection.index[selection["kept"]]) == set(best)


def test_votes_on_a_round_select_in_the_next_one_alone(
    project: Path, give_votes: GiveVotes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    votes, second = give_votes(brightness, 24).folder, {"rounds": 2}
    with pytest.raises(
        RequirementError, match=r"round_\d\.(test|validation)_scores holds no scores of the reward 'votes'"
    ):
        run(project, votes, second, namespaces=["rsi.round_2"])
    catalog = run(
        project,
        votes,
        second | {"gate": {"enabled": False}},
        namespaces=["rsi.round_0", "rsi.round_2"],
        only_missing_outputs=True,
    )
    assert "votes" in catalog.load("rsi.round_2.selection")
    metrics = catalog.load("rsi.round_2.metrics")
    assert metrics["gate/accepted"] == 1.0 and np.isfinite(metrics["test/reward/votes"])
    with pytest.raises(
        RequirementError, match=r"round_1.test_scores holds no scores of the reward 'votes', which the re"
    ):
        run(project, votes, second, pipeline_names=["report"])
    monkeypatch.chdir(project)
    exported = CliRunner().invoke(cli, ["rsi", "export", str(tmp_path / "adapter"), "--env=test", "--round=2"])
    alone = catalog.get("rsi.round_2.adapter").resolve_load_version()
    assert exported.output == f"Run {alone}, round 2: {tmp_path / 'adapter'}\n"
