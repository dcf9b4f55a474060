"""Compute a round's metrics: a flat dict of floats, the same keys in every round."""

import math

import numpy as np
import pandas as pd
from pydantic import Field

from rsidiff_kedro.core.image_set import PAIR, ImageSet
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.evaluation.distance import frechet_distance
from rsidiff_kedro.evaluation.diversity import open_diversity, within_prompt_diversity
from rsidiff_kedro.evaluation.image_statistics import saturation, sharpness
from rsidiff_kedro.evaluation.intervals import Interval, bootstrap_mean
from rsidiff_kedro.rewards.protocol import RewardName
from rsidiff_kedro.rewards.registry import RewardsSettings, load_features

Values = dict[str, tuple[np.ndarray, np.ndarray]]
"""By metric name: one number per image (or prompt), and the prompt of each."""


class EvaluationSettings(Section):
    """Settings for measuring each round's adapter on the test prompts.

    Attributes:
        rewards: reported beside those that select.
        judge: a registered name such as "scenes", `package.module:Class` of your own, or None.
        features: the embedding for diversity and for the distance to the base.
        samples_per_prompt: images per test prompt; diversity needs 2.
    """

    rewards: tuple[RewardName, ...] = ()
    judge: str | None = None
    features: RewardName
    samples_per_prompt: int = Field(default=2, ge=1)
    bootstrap_resamples: int = Field(default=1000, ge=10, le=100_000)


def with_intervals(values: Values, n_resamples: int, seed: int) -> dict[str, float]:
    """Return each mean under its name, and the ends of its interval under `<name>_low` and `<name>_high`.

    All three are NaN where there is nothing to measure, so every round has the same metrics.
    """
    metrics: dict[str, float] = {}
    for name, (numbers, prompts) in values.items():
        found = bootstrap_mean(numbers, prompts, n_resamples, seed) if len(numbers) else Interval(*[math.nan] * 3)
        metrics |= {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
    return metrics


def score_metrics(scores: pd.DataFrame, rewards: list[str]) -> Values:
    """Return the rewards of all images, and the judge's verdicts where there are any."""
    prompts = scores["prompt_id"].to_numpy()
    values = {f"reward/{name}": (scores[name].to_numpy(float), prompts) for name in rewards}
    if "correct" in scores:
        judged = scores.dropna(subset="correct")
        prompts = judged["prompt_id"].to_numpy()
        values["prompt_accuracy"] = (judged["correct"].to_numpy(float), prompts)
        values["attribute_accuracy"] = (judged["attribute_accuracy"].to_numpy(float), prompts)
        values["hallucination_rate"] = (judged["hallucinations"].to_numpy(float) > 0, prompts)
        if "left_open" in judged:
            diversity = open_diversity(judged)
            values["open_diversity"] = (diversity.to_numpy(), diversity.index.to_numpy())
    return values


def comparison_metrics(scores: pd.DataFrame, base: pd.DataFrame, rewards: list[str]) -> Values:
    """Compare a round with the base on the same prompts and seeds: win rates (a tie is half a win) and gains."""
    ours, theirs = scores.set_index(PAIR).sort_index(), base.set_index(PAIR).sort_index()
    prompts = ours.index.get_level_values("prompt_id").to_numpy()
    values = {}
    for name in rewards:
        gain = ours[name].to_numpy(float) - theirs[name].to_numpy(float)
        values[f"win_rate_over_base/{name}"] = ((np.sign(gain) + 1) / 2, prompts)
    if "correct" in ours:
        gain = ours["correct"].to_numpy(float) - theirs["correct"].to_numpy(float)
        judged = np.isfinite(gain)
        values["prompt_accuracy_gain_over_base"] = (gain[judged], prompts[judged])
    return values


def image_metrics(images: ImageSet) -> Values:
    """Return saturation and sharpness, which drift when a model trains on its own images."""
    prompts = images.metadata["prompt_id"].to_numpy()
    both = np.array([(saturation(image), sharpness(image)) for image in images.images])
    return {"saturation": (both[:, 0], prompts), "sharpness": (both[:, 1], prompts)}


def feature_metrics(
    images: ImageSet, base: ImageSet, settings: EvaluationSettings, models: RewardsSettings
) -> tuple[Values, float]:
    """Return the diversity of each prompt with two images or more, and the Fréchet distance to the base's images."""
    embed = load_features(settings.features, **models.options(settings.features)).embed
    ours, theirs = (embed(part.images, part.metadata["text"].tolist()) for part in (images, base))
    diversity = within_prompt_diversity(ours, images.metadata["prompt_id"]).dropna()
    values = {"diversity": (diversity.to_numpy(), diversity.index.to_numpy())} if len(diversity) else {}
    return values, frechet_distance(ours, theirs)
