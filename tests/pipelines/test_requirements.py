"""Scores of another run that the gate or the evaluation would compare with its own are checked first."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from diffusers import EulerAncestralDiscreteScheduler

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.prompt_table import PromptCountError
from rsidiff_kedro.core.votes import Votes
from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.hooks.configuration import open_configuration
from rsidiff_kedro.parameters import Parameters, parse_parameters
from rsidiff_kedro.pipelines.requirements import (
    RequirementError,
    check_reported,
    check_scores,
    dropping_requirements,
    prompts_requirement,
    reward_requirements,
)
from rsidiff_kedro.prompts.sources import collect_prompts
from rsidiff_kedro.prompts.sources.file import FileSource
from rsidiff_kedro.prompts.splits import split_prompts
from rsidiff_kedro.scenes.plugins.prompt_source import GrammarSource

PARENT, BASE = "rsi.round_3.validation_scores", "rsi.round_0.test_scores"


def parameters(project: Path, **params: Any) -> Parameters:
    return parse_parameters(open_configuration("test", params)[1]["parameters"]).within(project)


def scores(*names: str, fitted_on: str | None = None) -> pd.DataFrame:
    table = pd.DataFrame({name: [1.0] for name in (*names, "correct")})
    table.attrs["rewards"] = {"votes": {"fitted_on": {"sha256": fitted_on}}} if fitted_on else {}
    return table


def test_scores_of_the_same_rewards_can_be_compared(project: Path) -> None:
    for name in (PARENT, BASE):
        check_scores(name, scores("proxy"), parameters(project))


def test_the_parent_needs_scores_of_what_selects_unless_the_gate_is_open(project: Path) -> None:
    with pytest.raises(
        RequirementError, match=f"{PARENT} holds no scores of the reward 'proxy' .*set gate.enabled=false"
    ):
        check_scores(PARENT, scores("oracle"), parameters(project))
    check_scores(PARENT, scores("oracle"), parameters(project, gate={"enabled": False}))


def test_the_base_needs_scores_of_all_that_is_measured(project: Path) -> None:
    reported = parameters(project, evaluation={"rewards": ["proxy", "oracle"]}, gate={"enabled": False})
    with pytest.raises(
        RequirementError, match=r"no scores of the reward 'oracle' .*first make it .* --namespaces=rsi.round_0"
    ):
        check_scores(BASE, scores("proxy"), reported)


@pytest.mark.parametrize("name", [PARENT, "rsi.round_3.test_scores"])
def test_the_parent_needs_scores_of_all_that_is_measured_unless_the_gate_is_open(project: Path, name: str) -> None:
    """A round whose candidate the gate rejects goes on with its parent's scores."""
    reported = {"evaluation": {"rewards": ["proxy", "oracle"]}}
    with pytest.raises(
        RequirementError, match=r"no scores of the reward 'oracle' .*set gate.enabled=false .* or run all rounds"
    ):
        check_scores(name, scores("proxy"), parameters(project, **reported))
    check_scores(name, scores("proxy", "oracle"), parameters(project, **reported))
    check_scores(name, scores("proxy"), parameters(project, **reported, gate={"enabled": False}))


def test_scores_of_a_round_that_runs_are_measured_whatever_the_gate_does(project: Path) -> None:
    reported = parameters(project, evaluation={"rewards": ["proxy", "oracle"]}, gate={"enabled": False})
    with pytest.raises(RequirementError, match=r"no scores of the reward 'oracle' .*; run all rounds with"):
        check_scores(PARENT, scores("proxy"), reported, own=True)


@pytest.mark.parametrize("name", [PARENT, BASE])
def test_scores_without_the_judges_verdicts_are_not_compared_with_judged_ones(project: Path, name: str) -> None:
    unjudged = scores("proxy").drop(columns="correct")
    with pytest.raises(RequirementError, match="holds no verdicts of the judge 'scenes' to compare with; "):
        check_scores(name, unjudged, parameters(project))
    check_scores(name, unjudged, parameters(project, evaluation={"judge": None}))


@pytest.mark.parametrize("name", [PARENT, "rsi.round_3.test_scores"])
def test_votes_that_are_only_reported_must_be_those_of_the_parents_scores(
    project: Path, give_votes: Callable[..., Votes], name: str
) -> None:
    votes = give_votes(None, 3)
    given = parameters(
        project, evaluation={"rewards": ["proxy", "votes"]}, rewards={"votes": {"votes": str(votes.folder)}}
    )
    check_scores(name, scores("proxy", "votes", fitted_on=votes.digest), given)
    with pytest.raises(RequirementError, match="was scored by 'votes' as fitted on other votes than this run's"):
        check_scores(name, scores("proxy", "votes", fitted_on="another"), given)


def test_a_head_that_was_fitted_on_other_votes_is_another_reward(
    project: Path, give_votes: Callable[..., Votes]
) -> None:
    votes = give_votes(None, 3)
    selecting = {"rewards": {"proxy": 0, "votes": 1}}
    given = parameters(project, preference_selection=selecting, rewards={"votes": {"votes": str(votes.folder)}})
    check_scores(PARENT, scores("proxy", "votes", fitted_on=votes.digest), given)
    for fitted_on in ("another", None):
        with pytest.raises(RequirementError, match="was scored by 'votes' as fitted on other votes than this run's"):
            check_scores(PARENT, scores("proxy", "votes", fitted_on=fitted_on), given)


@pytest.mark.parametrize(
    ("later", "metrics", "made", "said"),
    [
        (scores("proxy"), {}, ["rsi.round_2.metrics"], "no scores of the reward 'oracle', which .*--pipelines=gate,ev"),
        (scores("proxy"), {"test/reward/oracle": 1.0, "test/reward/oracle_low": 0.9}, [], "of the reward 'oracle'"),
        (scores("proxy", "oracle").drop(columns="correct"), {}, [], "holds no verdicts of a judge, which .*"),
        (
            scores("proxy", "votes", fitted_on="b"),
            {"test/reward/votes": 1.0},
            [],
            r"another reward 'votes' than rsi.round_0.* differ in fitted_on",
        ),
    ],
)
def test_a_report_needs_the_same_scores_of_all_rounds(
    project: Path, later: pd.DataFrame, metrics: dict[str, float], made: list[str], said: str
) -> None:
    given = parameters(project, evaluation={"rewards": ["oracle"]})
    base = scores("proxy", "oracle", "votes", fitted_on="a")
    check_reported({BASE: base, "rsi.round_1.test_scores": base}, [metrics], made, given)
    with pytest.raises(RequirementError, match=rf"rsi.round_1.test_scores .*{said}"):
        check_reported({BASE: base, "rsi.round_1.test_scores": later}, [metrics], made, given)


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        (
            {"rewards": []},
            "without scores of the reward 'oracle', which .*; add it to evaluation.rewards, or score all",
        ),
        ({"rewards": ["oracle"], "judge": None}, "without verdicts of a judge, which .*; set evaluation.judge, or sco"),
    ],
)
def test_a_run_scores_its_rounds_by_all_that_the_report_shows_of_earlier_ones(
    project: Path, evaluation: dict[str, Any], said: str
) -> None:
    earlier = {BASE: scores("proxy", "oracle")}, [{"test/reward/oracle": 1.0, "test/reward/proxy": 0.5}]
    made = ["rsi.round_1.metrics", "rsi.round_1.test_scores"]
    check_reported(*earlier, made, parameters(project, evaluation={"rewards": ["oracle"]}))
    fewer = parameters(project, evaluation=evaluation)
    with pytest.raises(RequirementError, match=f"this run makes rsi.round_1.test_scores {said}"):
        check_reported(*earlier, made, fewer)
    check_reported(*earlier, made[:1], fewer)  # all scores are of earlier runs


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ({"": 10, "pool": 12}, None),
        ({"": 9, "pool": 20}, r"source holds 9 different prompts that can evaluate, but validation_size .* need 10"),
        ({"": 12, "pool": 9}, r"source holds 21 different prompts, but pool_size \(12\), validation_size .* need 22"),
        ({"": 22}, None),
        ({"pool": 22}, None),
        ({"": 21}, "source holds 21 different prompts, but .* need 22"),
        ({"evaluation": 10, "pool": 12}, None),
        ({"evaluation": 10, "pool": 5, "": 7}, None),
        ({"evaluation": 9, "": 22}, "source holds 9 different prompts that can evaluate, but .* need 10"),
        ({"evaluation": 20, "pool": 5, "": 6}, r"source holds 11 different prompts that can train, but .* need 12"),
    ],
)
def test_a_check_counts_prompts_as_the_split_uses_them(
    project: Path, monkeypatch: pytest.MonkeyPatch, marks: dict[str, int], said: str | None
) -> None:
    splits = [mark for mark, count in marks.items() for _ in range(count)]
    table = GrammarSource(count=40, evaluation_count=2).collect(0).head(len(splits)).assign(split=splits)
    # Equal prompts count once, as those that only train.
    twice = table[table["split"] == "pool"].assign(split="") if marks.keys() == {"", "pool"} else table
    monkeypatch.setattr(FileSource, "collect", lambda self, seed: pd.concat([twice, table], ignore_index=True))
    source = {"kind": "file", "path": str(project / "prompts.txt")}
    given = parameters(project, prompt_curation={"enabled": False, "source": source})
    curation, check = given.prompt_curation, prompts_requirement(given).check
    sizes = curation.validation_size, curation.test_size
    if said is None:
        check()
        collected = collect_prompts(curation.source, None, given.seed)
        kept = collected.sort_values("split", ascending=False).drop_duplicates("prompt_id")
        assert len(split_prompts(kept, *sizes, given.seed)[0]) >= curation.pool_size
    else:
        with pytest.raises(PromptCountError, match=said):
            check()


def test_early_dropping_needs_its_reward_and_a_scheduler_that_shows_what_samples_become(
    project: Path, family_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    assert dropping_requirements(parameters(project)) == []
    sampler = {"num_inference_steps": 8, "guidance_scale": 2.0, "micro_batch_size": 8}
    synthesis = {"sampler": sampler, "early_dropping": {"after": 4, "reward": "oracle"}}
    needed = {each.subject: each for each in dropping_requirements(parameters(project, synthesis=synthesis))}
    assert needed.keys() == {"reward: oracle", "early dropping"}
    assert needed["early dropping"].check() == "after 4 of 8 steps"
    folder = shutil.copytree(family_folder("stable_diffusion"), tmp_path / "noisy")
    EulerAncestralDiscreteScheduler().save_pretrained(folder / "scheduler")
    index = folder / "model_index.json"
    index.write_text(index.read_text("utf-8").replace("DDIMScheduler", "EulerAncestralDiscreteScheduler"), "utf-8")
    noisy = parameters(project, synthesis=synthesis, model={"base": str(folder)})
    with pytest.raises(ModelError, match="EulerAncestralDiscreteScheduler does not show after 4 of 8 steps"):
        dropping_requirements(noisy)[-1].check()


@pytest.mark.parametrize("reported", [{"rewards": ["hpsv2_0"]}, {"features": "hpsv2_1", "rewards": ["hpsv2_0"]}])
def test_one_file_for_two_rewards_of_a_run_is_refused(
    project: Path, reward_folder: Path, reported: dict[str, Any]
) -> None:
    shutil.copy(reward_folder / "hpsv2_1/HPS_v2.1_compressed.pt", project / "mine.pt")
    shutil.copy(reward_folder / "hpsv2_1/config.json", project)
    hpsv2 = {"checkpoint": "mine.pt", "tokenizer": str(reward_folder / "clip_tokenizer")}
    alone = parameters(project, evaluation={"rewards": ["hpsv2_0"]}, rewards={"hpsv2": hpsv2})
    assert "mine.pt" in reward_requirements(["hpsv2_0"], alone)[0].check()
    selecting = {} if "features" in reported else {"preference_selection": {"rewards": {"hpsv2_1": 1.0}}}
    both = parameters(project, evaluation=reported, rewards={"hpsv2": hpsv2}, **selecting)
    with pytest.raises(InputError, match=r"mine.pt', which would serve both hpsv2_0 and hpsv2_1"):
        reward_requirements(["hpsv2_0"], both)[0].check()
