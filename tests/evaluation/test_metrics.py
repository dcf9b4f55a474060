"""What a round reports."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.pairs import UnpairedError
from rsidiff_kedro.evaluation.metrics import (
    Embedded,
    comparison_metrics,
    diversity_metrics,
    score_metrics,
    with_intervals,
)
from rsidiff_kedro.evaluation.settings import EvaluationSettings, rounds_to_test
from rsidiff_kedro.method.settings import EarlyDroppingSettings
from rsidiff_kedro.pipelines.common import score_images
from rsidiff_kedro.pipelines.evaluation.nodes import measure, measure_validation
from rsidiff_kedro.rewards.settings import RewardsSettings
from rsidiff_kedro.scenes.world.grammar import parse_caption

SETTINGS = EvaluationSettings(rewards=["proxy"], judge="scenes", features="proxy", bootstrap_resamples=20)
GATE = {
    "enabled": 1.0,
    "accepted": 1.0,
    "reward_difference": 0.1,
    "reward_difference_low": 0.0,
    "reward_difference_high": 0.2,
}


def noise_of(scene_images, seed: int) -> ImageSet:
    """Return images of three captions, two samples each, that show nothing."""
    captions = ["a red circle", "a blue square", "a green triangle"]
    metadata = scene_images([parse_caption(caption) for caption in captions], 2).metadata
    pixels = np.random.default_rng(seed).integers(0, 256, (len(metadata), 32, 32, 3), np.uint8)
    return ImageSet(metadata, [Image.fromarray(image) for image in pixels])


def scores_of(images: ImageSet) -> pd.DataFrame:
    return score_images(images, ["proxy"], {"proxy": 1.0}, "scenes", RewardsSettings())


def test_the_base_and_the_rounds_report_the_same_metrics_and_nan_only_for_what_no_image_shows(scene_images) -> None:
    base, later = noise_of(scene_images, 0), noise_of(scene_images, 1)
    base_scores, scores = scores_of(base), scores_of(later)
    settings = (True, {"proxy": 1.0}, {}, None, SETTINGS, RewardsSettings(), 0)
    of_base = measure(base, base_scores, base_scores, *settings)
    of_round = measure(later, scores, scores, *settings, base, base_scores, GATE)
    of_no_gate = measure(later, scores, scores, *settings, base, base_scores)
    assert of_base.keys() == of_round.keys() == of_no_gate.keys()
    for metrics in (of_base, of_round, of_no_gate):
        assert {name.removesuffix("_low").removesuffix("_high") for name, x in metrics.items() if math.isnan(x)} <= {
            "test/diversity",  # of noise, no image is right
            "test/diversity_over_base",
            "validation/diversity",
        }
    untested = measure_validation(scores, {"proxy": 1.0}, SETTINGS, 0, GATE)
    rest = {name: value for name, value in of_round.items() if not name.startswith("test/")}
    assert str(untested) == str(rest)  # as text, because NaN differs from itself
    assert (of_base["gate/accepted"], of_base["test/win_rate_over_base/proxy"]) == (1.0, 0.5)
    assert of_base["test/distance_to_base"] < 1e-9 < of_round["test/distance_to_base"]
    assert of_round["test/win_rate_over_base/proxy"] != 0.5
    assert (of_round["gate/reward_difference"], of_no_gate["gate/reward_difference"]) == (0.1, 0.0)


@pytest.fixture
def gap(scene_images) -> Callable[..., float | None]:
    """The gap of a round whose reward `other` gains twice as much as `proxy`, in its own standard deviations."""
    base, later = noise_of(scene_images, 0), noise_of(scene_images, 1)
    settings = SETTINGS.model_copy(update={"rewards": ("proxy", "other"), "judge": None})
    base_scores = scores_of(base)[["prompt_id", "sample_index", "proxy"]]
    base_scores = base_scores.assign(other=base_scores["proxy"])
    scores = base_scores.assign(proxy=base_scores["proxy"] + 1.0, other=base_scores["proxy"] + 2.0)

    def found(selects: bool, floors: dict[str, float], dropping: str | None) -> float | None:
        early = None if dropping is None else EarlyDroppingSettings(after=2, reward=dropping)
        given = (selects, {"proxy": 1.0}, floors, early, settings, RewardsSettings(), 0, base, base_scores, GATE)
        return measure(later, scores, scores, *given).get("test/reward_gap")

    return found


def test_a_reward_that_selects_by_a_floor_or_by_early_dropping_is_not_held_out(gap) -> None:
    assert gap(True, {}, None) < 0
    assert gap(True, {"other": 0.5}, None) is None  # nothing is held out any more
    assert gap(True, {}, "other") is None
    assert gap(True, {}, "proxy") == gap(True, {}, None)


def test_without_selection_the_reward_of_early_dropping_selects_and_the_others_are_held_out(gap) -> None:
    assert gap(False, {}, "other") == -gap(True, {}, None) > 0
    assert gap(False, {"other": 0.5}, None) is None  # nothing selects
    assert gap(False, {}, "unreported") is None


def test_every_mean_lies_in_its_interval() -> None:
    numbers, prompts = np.array([0.0, 1.0, 1.0, 0.0]), np.array(["a", "a", "b", "b"])
    metrics = with_intervals({"x": (numbers, prompts)}, 200, 0)
    assert metrics["x_low"] <= metrics["x"] <= metrics["x_high"]


def test_win_rate_counts_a_tie_as_half_and_pairs_by_prompt_and_sample() -> None:
    base = pd.DataFrame({"prompt_id": ["a", "b", "c"], "sample_index": 0, "proxy": [1.0, 1.0, 1.0]})
    ours = pd.DataFrame({"prompt_id": ["c", "b", "a"], "sample_index": 0, "proxy": [0.0, 1.0, 2.0]})
    wins, prompts = comparison_metrics(ours, base, ["proxy"])["win_rate_over_base/proxy"]
    assert dict(zip(prompts, wins)) == {"a": 1.0, "b": 0.5, "c": 0.0}


def test_without_a_judge_there_are_no_judged_metrics() -> None:
    scores = pd.DataFrame({"prompt_id": ["a"], "sample_index": [0], "proxy": [1.0]})
    assert set(score_metrics(scores, ["proxy"])) == {"reward/proxy"}


def test_of_one_prompt_there_is_a_mean_without_an_interval_and_of_none_nothing() -> None:
    one, none = (np.array([1.0, 2.0]), np.array(["a", "a"])), (np.array([]), np.array([]))
    metrics = with_intervals({"one": one, "none": none}, 20, 0)
    assert metrics.pop("one") == 1.5
    assert list(metrics) == ["one_low", "one_high", "none", "none_low", "none_high"]
    assert all(map(math.isnan, metrics.values()))


def embedded(spread: float) -> Embedded:
    return Embedded(pd.Series({"a": spread, "b": spread}), pd.Series({"a": 0.4, "b": 0.4}), 0.0)


def test_without_a_judge_diversity_is_the_embeddings_with_its_ratio_to_the_base() -> None:
    scores = pd.DataFrame({"prompt_id": ["a", "b"], "sample_index": 0})
    values, ratio = diversity_metrics(scores, scores, embedded(0.3), 50, 0)
    assert list(values) == ["diversity"]
    assert values["diversity"][0].tolist() == [0.3, 0.3]
    assert ratio.mean == ratio.low == ratio.high == 0.3 / 0.4


def test_a_judges_diversity_counts_right_samples_and_the_embeddings_has_its_own_name() -> None:
    shown = ['{"size": "large"}', '{"size": "small"}', '{"size": "large"}', '{"size": "large"}']
    pairs = pd.DataFrame({"prompt_id": ["a", "a", "b", "b"], "left_open": shown, "correct": True})
    values, ratio = diversity_metrics(pairs, pairs, embedded(0.3), 50, 0)
    assert values["diversity"][0].tolist() == [1.0, 0.0]
    assert values["embedding_spread"][0].tolist() == [0.3, 0.3]
    assert ratio.mean == 1.0


def test_the_base_and_the_last_round_are_always_tested() -> None:
    assert rounds_to_test(3, 1) == [0, 1, 2, 3]
    assert rounds_to_test(6, 3) == [0, 3, 6]
    assert rounds_to_test(5, 3) == [0, 3, 5]
    assert rounds_to_test(2, 9) == [0, 2]


def test_a_base_of_other_prompts_or_samples_is_refused(scene_images) -> None:
    base, later = noise_of(scene_images, 0), noise_of(scene_images, 1)
    base_scores, scores = scores_of(base), scores_of(later)
    settings = (True, {"proxy": 1.0}, {}, None, SETTINGS, RewardsSettings(), 0)
    for other in (base_scores.assign(prompt_id=base_scores["prompt_id"] + "x"), base_scores.query("sample_index == 0")):
        with pytest.raises(UnpairedError, match="have no partner"):
            comparison_metrics(scores, other, ["proxy"])
        with pytest.raises(UnpairedError, match="have no partner"):
            measure(later, scores, scores, *settings, base, other, GATE)
