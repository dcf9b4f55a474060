"""Prompts that a reward reads only the beginning of are counted before a run."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.pipeline import node
from parity import samples

from rsidiff_kedro.hooks.configuration import open_configuration
from rsidiff_kedro.hooks.inputs import InputHooks
from rsidiff_kedro.parameters import Parameters, parse_parameters
from rsidiff_kedro.pipelines.requirements import prompts_requirement
from rsidiff_kedro.rewards.cut_prompts import describe_cut_prompts
from rsidiff_kedro.rewards.registry import load_reward
from rsidiff_kedro.rewards.settings import RewardsSettings

LONG = " ".join(["a cat on a chair"] * 60)
PAIR = [f"{LONG} with a red hat", f"{LONG} under a blue moon"]
IMAGES = samples.images()[:1] * 2


@pytest.fixture
def settings(options: dict[str, dict[str, Any]]) -> RewardsSettings:
    def part(name: str) -> dict[str, Any]:
        return {key: value for key, value in options[name].items() if key in ("checkpoint", "tokenizer", "clip")}

    names = ("image_reward", "pick_score", "clip_score", "aesthetic")
    return RewardsSettings(hpsv2=part("hpsv2_1"), device="cpu", **{name: part(name) for name in names})


@pytest.mark.parametrize(
    ("name", "most"), [("hpsv2_1", 77), ("hpsv2_0", 77), ("pick_score", 77), ("clip_score", 77), ("image_reward", 35)]
)
def test_prompts_that_score_the_same_because_they_are_cut_are_counted(
    name: str, most: int, settings: RewardsSettings, options: dict[str, dict[str, Any]]
) -> None:
    reward = load_reward(name, **options[name])
    assert len({*reward.score(IMAGES, PAIR).tolist()}) == 1
    checkpoint = {"checkpoint": options[name]["checkpoint"]}
    own = settings.model_copy(update={"hpsv2": settings.hpsv2.model_copy(update=checkpoint)})
    (found,) = describe_cut_prompts([name], own, ["a cat", *PAIR, PAIR[0]])
    count = len(reward.tokenizer(PAIR[0]).input_ids)
    assert found == f"{name} reads {most} tokens and cuts 2 of 3 prompts ({PAIR[0][:60]!r} first, which has {count})"


def test_a_prompt_of_as_many_tokens_as_are_read_is_not_cut(settings: RewardsSettings, options: dict[str, Any]) -> None:
    tokenizer = load_reward("image_reward", **options["image_reward"]).tokenizer
    words = next(n for n in range(1, 100) if len(tokenizer(" ".join(["a"] * n)).input_ids) == 35)
    assert describe_cut_prompts(["image_reward"], settings, [" ".join(["a"] * words)]) == []
    assert len(describe_cut_prompts(["image_reward"], settings, [" ".join(["a"] * (words + 1))])) == 1


def test_rewards_that_cut_nothing_are_not_named(settings: RewardsSettings) -> None:
    assert describe_cut_prompts(["proxy", "oracle", "aesthetic"], settings, PAIR) == []
    assert describe_cut_prompts(["image_reward", "clip_score"], settings, ["a cat"]) == []
    assert describe_cut_prompts(["image_reward"], settings, []) == []


def test_a_reward_that_cannot_be_opened_is_left_to_its_own_check(settings: RewardsSettings) -> None:
    part = settings.image_reward.model_copy(update={"tokenizer": "/no/such"})
    broken = settings.model_copy(update={"image_reward": part})
    (found,) = describe_cut_prompts(["clip_score", "image_reward"], broken, PAIR)
    assert found.startswith("clip_score reads 77")


def test_votes_read_as_much_as_the_reward_whose_features_they_are_fitted_on(settings: RewardsSettings) -> None:
    (found,) = describe_cut_prompts(["votes"], settings, PAIR)
    assert found.startswith("votes reads 77 tokens and cuts 2 of 2 prompts")
    on_proxy = settings.model_copy(update={"votes": settings.votes.model_copy(update={"features": "proxy"})})
    assert describe_cut_prompts(["votes"], on_proxy, PAIR) == []


def parameters(settings: RewardsSettings, source: dict[str, Any]) -> Parameters:
    given = {
        "rewards": settings.model_dump(exclude={"votes"}, mode="json"),
        "preference_selection": {"rewards": {"proxy": 0, "hpsv2_1": 1.0, "image_reward": 1.0}},
        "evaluation": {"rewards": ["image_reward"], "judge": None},
        "prompt_curation": {
            "enabled": False,
            "source": source,
            "pool_size": 6,
            "prompts_per_round": 4,
            "validation_size": 2,
            "test_size": 2,
        },
    }
    return parse_parameters(open_configuration("test", given)[1]["parameters"])


def test_a_run_and_the_doctor_say_in_one_line_how_many_prompts_are_cut(
    project: Path, settings: RewardsSettings, caplog: pytest.LogCaptureFixture
) -> None:
    (project / "prompts.txt").write_text("\n".join([*PAIR, *(f"a red circle {number}" for number in range(12))]))
    given = parameters(settings, {"kind": "file", "path": str(project / "prompts.txt")})
    other = given.model.model_copy(update={"base": "no"})  # the shipped base reads captions of its own alone
    said = prompts_requirement(given.model_copy(update={"model": other})).check()
    lines = [record.message for record in caplog.records if "cut" in record.message]
    assert len(lines) == 1
    counted = "cuts 2 of 14 prompts ('a cat on a chair"
    assert lines[0].startswith(f"Rewards cut prompts: hpsv2_1 reads 77 tokens and {counted}")
    assert f"; image_reward reads 35 tokens and {counted}" in lines[0]
    assert said.endswith(lines[0].removeprefix("Rewards cut prompts: "))


def test_prompts_that_cost_are_counted_once_they_are_collected(
    project: Path, settings: RewardsSettings, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = {"kind": "language_model", "endpoint": "http://127.0.0.1:9/v1", "model": "m", "count": 20}
    hooks = InputHooks()
    hooks._parameters = parameters(settings, endpoint)
    assert hooks._parameters.prompt_curation.source.costs
    of_ones_own = node(lambda: 1, None, "made")
    hooks.after_dataset_saved("collected_prompts", pd.DataFrame({"text": ["a cat", *PAIR]}), of_ones_own)
    hooks.after_dataset_saved("filtered_prompts", pd.DataFrame({"text": PAIR}), of_ones_own)
    (line,) = [record.message for record in caplog.records if "cut" in record.message]
    assert "image_reward reads 35 tokens and cuts 2 of 3 prompts" in line
