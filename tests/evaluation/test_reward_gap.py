"""The gap between what selects and what is held out."""

import numpy as np
import pandas as pd
import pytest

from rsidiff_kedro.core.pairs import UnpairedError
from rsidiff_kedro.evaluation.reward_gap import held_out_columns, reward_gap


def scores_of(**gains: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a round and the base, whose measures all have a standard deviation of 2; the round gains as given."""
    rows = [(f"p{prompt}", sample) for prompt in range(20) for sample in range(2)]
    base = pd.DataFrame(rows, columns=["prompt_id", "sample_index"])
    for name in gains:
        base[name] = np.where(base["sample_index"] == 0, 2.0, -2.0)
    later = base.assign(**{name: base[name] + gain for name, gain in gains.items()})
    return later.sample(frac=1, random_state=0), base


def test_equal_gains_leave_no_gap_whatever_the_scale() -> None:
    later, base = scores_of(chosen=1.0, held=1.0)
    later["held"], base["held"] = later["held"] * 100, base["held"] * 100
    assert reward_gap(later, base, {"chosen": 1.0}, ["held"], 50, 0) == pytest.approx((0, 0, 0))


def test_the_gap_is_in_standard_deviations_of_the_base() -> None:
    gap = reward_gap(*scores_of(chosen=3.0, held=1.0), {"chosen": 1.0}, ["held"], 50, 0)
    assert gap.mean == pytest.approx(1.0)
    assert gap.excludes_zero


def test_a_measure_that_is_the_same_for_all_images_of_the_base_has_the_spread_of_both() -> None:
    later, base = scores_of(chosen=0.0, held=0.0)
    base["held"] = 1.0
    later["held"] = (later["prompt_id"] != "p0").astype(float)
    gap = reward_gap(later, base, {"chosen": 1.0}, ["held"], 50, 0)
    assert gap.mean == pytest.approx(2 / 40 / np.std([0.0] * 2 + [1.0] * 78))
    later["held"] = 1.0
    assert reward_gap(later, base, {"chosen": 1.0}, ["held"], 50, 0) == pytest.approx((0, 0, 0))


def test_rewards_that_select_count_by_their_weights() -> None:
    gap = reward_gap(*scores_of(one=4.0, other=0.0, held=0.0), {"one": 3.0, "other": 1.0}, ["held"], 50, 0)
    assert gap.mean == pytest.approx(1.5)


def test_images_that_the_judge_could_not_read_are_left_out() -> None:
    later, base = scores_of(chosen=2.0, correct=0.0)
    unread = later["prompt_id"] == "p0"
    later.loc[unread, "chosen"] += 1000
    later["correct"] = later["correct"].mask(unread)
    assert reward_gap(later, base, {"chosen": 1.0}, ["correct"], 50, 0).mean == pytest.approx(1.0)


def test_held_out_are_the_other_rewards_and_the_judge() -> None:
    scores = pd.DataFrame(columns=["hpsv2_1", "pick_score", "correct"])
    assert held_out_columns(scores, ["hpsv2_1", "pick_score"], {"hpsv2_1": 1.0}) == ["pick_score", "correct"]
    assert held_out_columns(scores.drop(columns="correct"), ["hpsv2_1"], {"hpsv2_1": 1.0}) == []
    assert held_out_columns(scores, ["hpsv2_1", "pick_score"], {"hpsv2_1", "pick_score"}) == ["correct"]


def test_a_base_of_other_prompts_is_refused() -> None:
    later, base = scores_of(chosen=1.0, held=1.0)
    with pytest.raises(UnpairedError, match="have no partner"):
        reward_gap(later, base.assign(prompt_id=base["prompt_id"] + "x"), {"chosen": 1.0}, ["held"], 50, 0)
