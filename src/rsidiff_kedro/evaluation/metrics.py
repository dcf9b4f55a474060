"""Compute a round's metrics: a flat dict of floats, the same keys in every round."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.pairs import paired
from rsidiff_kedro.evaluation.distance import frechet_distance
from rsidiff_kedro.evaluation.diversity import embedding_spread, open_diversity
from rsidiff_kedro.evaluation.image_statistics import saturation, sharpness
from rsidiff_kedro.evaluation.intervals import Interval, bootstrap_mean, ratio_of_means
from rsidiff_kedro.evaluation.settings import EvaluationSettings
from rsidiff_kedro.rewards.embedding import embed_sets
from rsidiff_kedro.rewards.settings import RewardsSettings

Values = dict[str, tuple[np.ndarray, np.ndarray]]
"""By metric name: one number per image (or prompt), and the prompt of each."""


def with_intervals(values: Values, n_resamples: int, seed: int) -> dict[str, float]:
    """Return each mean under its name, and the ends of its interval under `<name>_low` and `<name>_high`.

    All three are NaN where there is nothing to measure, so every round has the same metrics.
    """
    metrics: dict[str, float] = {}
    for name, (numbers, prompts) in values.items():
        found = bootstrap_mean(numbers, prompts, n_resamples, seed) if len(numbers) else Interval(*[math.nan] * 3)
        metrics |= named(name, found)
    return metrics


def named(name: str, found: Interval) -> dict[str, float]:
    """Return an interval as three metrics."""
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


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
            values["diversity"] = by_prompt(open_diversity(judged))
    return values


def by_prompt(numbers: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers by prompt_id as `Values` holds them, without NaN."""
    found = numbers.dropna()
    return found.to_numpy(float), found.index.to_numpy()


def comparison_metrics(scores: pd.DataFrame, base: pd.DataFrame, rewards: list[str]) -> Values:
    """Compare a round with the base on the same prompts and seeds: win rates (a tie is half a win) and gains.

    Raises:
        UnpairedError: the two are not of the same prompts and samples.
    """
    ours, theirs = paired(scores, base)
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


class Embedded(NamedTuple):
    """Hold an embedding's measures: the spread within each prompt, of a round and of the base, and their distance."""

    spread: pd.Series
    base_spread: pd.Series
    distance: float


def embed(
    images: ImageSet,
    base: ImageSet,
    settings: EvaluationSettings,
    models: RewardsSettings,
    unfinished: Path | None = None,
) -> Embedded:
    """Embed a round's images and the base's, and measure them; the distance is Fréchet's.

    Args:
        unfinished: as in `embed_sets`.
    """
    ours, theirs = embed_sets(settings.features, models, {"round": images, "base": base}, unfinished)
    return Embedded(
        spread=embedding_spread(ours, images.metadata["prompt_id"]),
        base_spread=embedding_spread(theirs, base.metadata["prompt_id"]),
        distance=frechet_distance(ours, theirs),
    )


def diversity_metrics(
    scores: pd.DataFrame, base: pd.DataFrame, embedded: Embedded, n_resamples: int, seed: int
) -> tuple[Values, Interval]:
    """Return the diversity within a prompt, and its ratio to the base's with an interval.

    It is the judge's, among right samples, if the judge tells what prompts leave open. The embedding's spread then has
    a name of its own; without such a judge it is the diversity.
    """
    if "left_open" not in scores:
        ours, theirs = embedded.spread, embedded.base_spread
        return {"diversity": by_prompt(ours)}, ratio_of_means(ours, theirs, n_resamples, seed)
    ours, theirs = open_diversity(scores), open_diversity(base)
    values = {"diversity": by_prompt(ours), "embedding_spread": by_prompt(embedded.spread)}
    return values, ratio_of_means(ours, theirs, n_resamples, seed)
