"""Comparing the base with the last round."""

import math

import pandas as pd
import pytest

from rsidiff_kedro.reporting.summary import compare_rounds, summary_text

Metrics = list[dict[str, float | None]]


def test_each_measure_is_compared_image_by_image(scores: list[pd.DataFrame]) -> None:
    found = {item.name: item for item in compare_rounds(scores[0], scores[2], ["proxy"], 200, 0)}
    assert list(found) == ["prompt accuracy", "attribute accuracy", "images with hallucinations", "reward proxy"]
    accuracy = found["prompt accuracy"]
    assert (accuracy.base, accuracy.last) == pytest.approx((0.2, 0.8))
    assert accuracy.difference.mean == pytest.approx(0.6)
    assert accuracy.difference.low < 0.6 < accuracy.difference.high
    assert accuracy.verdict == "better"
    assert found["images with hallucinations"].base == 0.5
    assert found["images with hallucinations"].verdict == "no clear change"


def test_the_order_of_the_rows_does_not_matter(scores: list[pd.DataFrame]) -> None:
    shuffled = scores[2].sample(frac=1, random_state=1)
    assert compare_rounds(scores[0], shuffled, ["proxy"], 50, 0) == compare_rounds(
        scores[0], scores[2], ["proxy"], 50, 0
    )


def test_more_hallucinations_are_worse(scores: list[pd.DataFrame]) -> None:
    last = scores[2].assign(hallucinations=1)
    found = {item.name: item for item in compare_rounds(scores[0], last, [], 200, 0)}
    assert found["images with hallucinations"].verdict == "worse"


def test_images_that_the_judge_could_not_read_are_left_out(scores: list[pd.DataFrame]) -> None:
    unread = scores[0]["prompt_id"] == "p0"
    base, last = (
        table.assign(correct=table["correct"].astype(object).mask(unread)) for table in (scores[0], scores[2])
    )
    accuracy = compare_rounds(base, last, [], 50, 0)[0]
    assert accuracy.base == pytest.approx(2 / 18)


def test_rounds_of_other_prompts_cannot_be_compared(scores: list[pd.DataFrame]) -> None:
    with pytest.raises(ValueError, match="no partner"):
        compare_rounds(scores[0], scores[2].iloc[1:], ["proxy"], 50, 0)


def test_a_pair_that_stands_twice_is_refused(scores: list[pd.DataFrame]) -> None:
    with pytest.raises(ValueError, match="second of two tables of scores has more than one row"):
        compare_rounds(scores[0], scores[2].assign(sample_index=0), ["proxy"], 50, 0)


def test_the_summary_says_what_improved_and_what_the_gate_did(metrics: Metrics, scores: list[pd.DataFrame]) -> None:
    text = summary_text(metrics, scores[0], scores[2], 200, 0)
    assert "10 test prompts, 20 images" in text
    assert "+0.600 [" in text
    assert "The gate rejected the candidates of these rounds and kept the earlier adapter: 2." in text
    assert "The adapter in use is round 1's." in text
    assert "0.500     0.300   x 0.60 [0.50, 0.70]  worse" in text
    assert "two right samples" in text


def test_the_summary_warns_of_reward_hacking(metrics: Metrics, scores: list[pd.DataFrame]) -> None:
    tables = scores[0].assign(correct=True), scores[2].assign(correct=False)
    text = summary_text(metrics, *tables, 200, 0, selecting=["proxy"])
    assert "reward hacking" in text


def test_the_summary_says_when_nothing_was_held_out(metrics: Metrics, scores: list[pd.DataFrame]) -> None:
    judged = ["correct", "attribute_accuracy", "hallucinations"]
    tables = [table.drop(columns=judged) for table in (scores[0], scores[2])]
    text = summary_text(metrics, *tables, 200, 0, selecting=["proxy"])
    assert "Nothing was held out" in text
    random = summary_text(metrics, *tables, 200, 0, selecting=[])
    assert "reward proxy (held out)" in random and "Nothing was held out" not in random
    assert "prompt accuracy" not in text


def test_a_single_prompt_shows_a_difference_and_no_clear_change(scores: list[pd.DataFrame]) -> None:
    base, last = (table[table["prompt_id"] == "p1"] for table in (scores[0], scores[2]))
    found = {item.name: item for item in compare_rounds(base, last, ["proxy"], 50, 0)}
    reward = found["reward proxy"]
    assert reward.difference.mean == pytest.approx(0.4)
    assert math.isnan(reward.difference.low) and math.isnan(reward.difference.high)
    assert {item.verdict for item in found.values()} == {"no clear change"}


def test_the_summary_names_the_folder_of_the_adapter_in_use(metrics: Metrics, scores: list[pd.DataFrame]) -> None:
    folders = {0: "data/round_0", 1: "data/round_1", 2: "data/round_2"}
    text = summary_text(metrics, scores[0], scores[2], 50, 0, adapters=folders)
    assert "The adapter in use is round 1's: data/round_1\n" in text
    rejected = [{**each, "gate/accepted": 0.0} for each in metrics]
    assert "The adapter in use is the base's" in summary_text(rejected, scores[0], scores[2], 50, 0, adapters=folders)


def with_another_reward(metrics: Metrics, scores: list[pd.DataFrame]) -> tuple[Metrics, pd.DataFrame, pd.DataFrame]:
    """Return metrics and scores without a judge, with a reward beside the one that selects; it falls."""
    judged = ["correct", "attribute_accuracy", "hallucinations"]
    base, last = (table.drop(columns=judged) for table in (scores[0], scores[2]))
    more = {"test/reward/pick_score": 20.0, "test/win_rate_over_base/pick_score": 0.3}
    return [{**each, **more} for each in metrics], base.assign(pick_score=20.0), last.assign(pick_score=19.0)


def test_a_held_out_reward_is_marked_and_judges_those_that_select(metrics: Metrics, scores: list[pd.DataFrame]) -> None:
    text = summary_text(*with_another_reward(metrics, scores), 200, 0, selecting=["proxy"])
    assert "reward proxy (selects)" in text and "reward pick_score (held out)" in text
    assert "Win rate over the base: proxy (selects) 0.70, pick_score (held out) 0.30" in text
    assert "held out: +0.20 standard deviations no interval: it does not run ahead" in text
    assert "rose while reward pick_score fell" in text and "reward hacking" in text
    assert "Nothing was held out" not in text


def test_a_diversity_that_was_not_measured_is_left_out(metrics: Metrics, scores: list[pd.DataFrame]) -> None:
    unmeasured = [{**each, "test/diversity": None, "test/diversity_over_base": None} for each in metrics]
    assert "iversity" not in summary_text(unmeasured, scores[0], scores[2], 50, 0)


def test_rounds_without_a_test_are_named_and_change_nothing_else(metrics: Metrics, scores: list[pd.DataFrame]) -> None:
    untested = {key: value for key, value in metrics[1].items() if not key.startswith("test/")}
    text = summary_text([metrics[0], untested, metrics[2]], scores[0], scores[2], 200, 0)
    line = "Not tested, as evaluation.test_every says: round 1.\n"
    assert line in text
    assert text.replace(line, "") == summary_text(metrics, scores[0], scores[2], 200, 0)


def test_signs_of_collapse_are_named_once_with_their_first_round() -> None:
    rounds = [{"test/hallucination_rate": rate} for rate in (0.2, 0.4, 0.5)]
    for metrics, accepted in zip(rounds, (1.0, 1.0, 0.0), strict=True):
        rate = metrics["test/hallucination_rate"]
        metrics |= {"test/hallucination_rate_low": rate - 0.04, "test/hallucination_rate_high": rate + 0.04}
        metrics["gate/accepted"] = accepted
    scores = pd.DataFrame({"prompt_id": ["a", "b"], "sample_index": 0, "proxy": 1.0})
    text = summary_text(rounds, scores, scores, 100, 0)
    assert text.count("Sign of collapse") == 1
    assert "Sign of collapse in round 1 (its candidate was accepted): hallucination rate 0.400 after 0.200" in text
    rounds[1]["gate/enabled"] = 0.0
    assert "Sign of collapse in round 1 (there was no gate): " in summary_text(rounds, scores, scores, 100, 0)
