"""What a report says of training: samples, weights, and what was kept of prompts and samples."""

from itertools import pairwise

import pandas as pd
import pytest

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.method.selection import select_samples
from rsidiff_kedro.method.settings import SelectionSettings
from rsidiff_kedro.reporting.figures import loss_figure
from rsidiff_kedro.reporting.funnel import funnel
from rsidiff_kedro.reporting.training_samples import training_samples


@pytest.fixture
def selection(scores: list[pd.DataFrame]) -> pd.DataFrame:
    return select_samples(scores[1], SelectionSettings(rewards={"proxy": 1.0}, keep_per_prompt=1), 0)


@pytest.fixture
def weights(selection: pd.DataFrame) -> pd.DataFrame:
    kept = selection.query("kept")[["image_id"]].reset_index(drop=True)
    return kept.assign(distance=10.0 - kept.index, weight=0.1 + 0.2 * kept.index)


def test_a_prompts_samples_are_in_the_order_of_their_ranks_with_reason_or_weight(
    images: list[ImageSet], selection: pd.DataFrame, weights: pd.DataFrame
) -> None:
    found = training_samples(images[1], selection, weights, ["proxy"], ["proxy"])
    best, other = found["prompts"][0]
    assert (best["rank"], best["reason"], best["weight"], best["distance"]) == (1, "", 0.1, 10.0)
    assert (other["rank"], other["reason"], other["weight"]) == (2, "rank", None)
    assert found["rewards"] == ["proxy (selects)"]
    assert training_samples(images[1], selection, weights, ["proxy"], [])["rewards"] == ["proxy (held out)"]


def test_the_extremes_of_the_weights_are_shown(
    images: list[ImageSet], selection: pd.DataFrame, weights: pd.DataFrame
) -> None:
    found = training_samples(images[1], selection, weights, ["proxy"], ["proxy"])
    lowest, highest = ([sample["weight"] for sample in found[end]] for end in ("lowest", "highest"))
    assert lowest == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert highest == pytest.approx([1.9, 1.7, 1.5, 1.3, 1.1])


def table(*rules: str) -> pd.DataFrame:
    return pd.DataFrame({"rule": rules}, dtype=str)


def test_every_prompt_is_kept_or_dropped_for_a_reason(selection: pd.DataFrame, weights: pd.DataFrame) -> None:
    by_probe = table("hopeless", "hopeless", "solved", "not_diverse")
    collected, candidates, pool = table(*"x" * 20), table(*"x" * 12), table(*"x" * 8)
    steps = funnel(
        collected, table("too_short", "markup", "markup"), candidates, 12, by_probe, pool, [selection], [weights]
    )["prompts"]
    assert [step["left"] for step in steps] == [20, 17, 12, 9, 8]
    for before, after in pairwise(steps):
        assert before["left"] - after["left"] == sum(each["count"] for each in after["dropped"])
    assert steps[1]["dropped"][0] == {"reason": "markup", "count": 2}


def test_without_a_probe_there_is_no_step_of_it(selection: pd.DataFrame, weights: pd.DataFrame) -> None:
    some = table("x", "x")
    steps = funnel(some, some[:0], some, 0, some[:0], some, [selection], [weights])["prompts"]
    assert not any("probe" in step["name"] for step in steps)


def test_samples_are_counted_from_generated_to_weighted(selection: pd.DataFrame, weights: pd.DataFrame) -> None:
    some = table("x")
    found = funnel(some, some[:0], some, 0, some[:0], some, [selection], [weights])["samples"]
    assert len(found) == 1
    assert (found[0]["round"], found[0]["generated"], found[0]["kept"]) == (1, 20, 10)
    assert sum(each["count"] for each in found[0]["dropped"]) == 10
    assert found[0]["effective"] < 10
    assert (found[0]["lowest"], found[0]["highest"]) == pytest.approx((0.1, 1.9))


def test_each_round_has_a_loss_curve() -> None:
    log = pd.DataFrame({"step": [0, 1, 2], "loss": [3.0, 2.0, 1.0]})
    lines = loss_figure(log, log, log).data
    assert [line.name for line in lines] == ["round 1", "round 2", "round 3"]
    assert list(lines[0].y) == [3.0, 2.0, 1.0]
