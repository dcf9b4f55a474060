"""What a round reports, and how the judge's table is made."""

import math

import numpy as np
import pandas as pd
import pytest
from rsidiff_kedro.rewards.settings import RewardsSettings

from rsidiff_kedro.evaluation.metrics import comparison_metrics, score_metrics, with_intervals
from rsidiff_kedro.pipelines.evaluation.nodes import measure, measure_base, score_images
from rsidiff_kedro.scenes.plugins.judge import judge_scenes

EVALUATION = {"rewards": ["proxy"], "judge": "scenes", "bootstrap_resamples": 20}
OPEN = {"accepted": 1.0, "reward_difference": 0.1, "reward_difference_low": 0.0, "reward_difference_high": 0.2}


def scores_of(images) -> pd.DataFrame:
    return score_images(images, ["proxy"], {"proxy": 1.0}, "scenes", RewardsSettings())


def test_the_base_and_the_rounds_report_the_same_metrics_and_nan_only_for_what_no_image_shows(make_images) -> None:
    base, later = make_images("test"), make_images("testing")
    args = ({"proxy": 1.0}, EVALUATION, RewardsSettings(), 0)
    of_base = measure_base(base, scores_of(base), scores_of(base), *args)
    of_round = measure(later, scores_of(later), base, scores_of(base), scores_of(later), OPEN, *args)
    assert of_base.keys() == of_round.keys()
    for metrics in (of_base, of_round):
        assert {name.removesuffix("_low").removesuffix("_high") for name, x in metrics.items() if math.isnan(x)} <= {
            "test/open_diversity",  # of noise, no image is right
            "validation/open_diversity",
        }
    assert (of_base["gate/accepted"], of_base["test/win_rate_over_base/proxy"]) == (1.0, 0.5)


def test_every_mean_lies_in_its_interval() -> None:
    numbers, prompts = np.array([0.0, 1.0, 1.0, 0.0]), np.array(["a", "a", "b", "b"])
    metrics = with_intervals({"x": (numbers, prompts)}, 200, 0)
    assert metrics["x_low"] <= metrics["x"] <= metrics["x_high"]


def test_win_rate_counts_a_draw_as_half_and_pairs_by_prompt_and_sample() -> None:
    base = pd.DataFrame({"prompt_id": ["a", "b", "c"], "sample_index": 0, "proxy": [1.0, 1.0, 1.0]})
    ours = pd.DataFrame({"prompt_id": ["c", "b", "a"], "sample_index": 0, "proxy": [0.0, 1.0, 2.0]})
    wins, prompts = comparison_metrics(ours, base, ["proxy"])["win_rate_over_base/proxy"]
    assert dict(zip(prompts, wins)) == {"a": 1.0, "b": 0.5, "c": 0.0}


def test_without_a_judge_there_are_no_judged_metrics() -> None:
    scores = pd.DataFrame({"prompt_id": ["a"], "sample_index": [0], "proxy": [1.0]})
    assert set(score_metrics(scores, ["proxy"])) == {"reward/proxy"}


def test_prompts_that_are_no_captions_are_left_unjudged(make_images) -> None:
    images = make_images("test", n_prompts=1).images
    verdicts = judge_scenes(images, ["a red circle", "a castle at dawn"])
    assert verdicts["correct"].isna().tolist() == [False, True]


def test_prompts_of_which_none_is_a_caption_are_refused(make_images) -> None:
    with pytest.raises(ValueError, match=r"set evaluation\.judge=null"):
        judge_scenes(make_images("test", 1).images, ["a castle", "a ship"])
