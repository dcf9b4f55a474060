"""The steps of evaluation."""

import pandas as pd

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.evaluation import metrics
from rsidiff_kedro.evaluation.metrics import EvaluationSettings
from rsidiff_kedro.method.gate import OPEN_GATE
from rsidiff_kedro.rewards.registry import RewardsSettings


def measure_base(
    images: ImageSet,
    scores: pd.DataFrame,
    validation_scores: pd.DataFrame,
    rewards: dict[str, float],
    settings: EvaluationSettings,
    models: RewardsSettings,
    seed: int,
) -> dict[str, float]:
    """Compute the metrics of round 0, the base; compared with itself it wins half the time."""
    itself = (images, scores, images, scores)
    return measure(*itself, validation_scores, OPEN_GATE, rewards, settings, models, seed)


def measure_without_gate(
    images: ImageSet,
    scores: pd.DataFrame,
    base_images: ImageSet,
    base_scores: pd.DataFrame,
    validation_scores: pd.DataFrame,
    rewards: dict[str, float],
    settings: EvaluationSettings,
    models: RewardsSettings,
    seed: int,
) -> dict[str, float]:
    """Compute the metrics of an adapter that passed no gate."""
    paired = (images, scores, base_images, base_scores, validation_scores)
    return measure(*paired, OPEN_GATE, rewards, settings, models, seed)


def measure(
    images: ImageSet,
    scores: pd.DataFrame,
    base_images: ImageSet,
    base_scores: pd.DataFrame,
    validation_scores: pd.DataFrame,
    gate: dict[str, float],
    selection_rewards: dict[str, float],
    settings: EvaluationSettings,
    models: RewardsSettings,
    seed: int,
) -> dict[str, float]:
    """Compute a round's metrics from its test images and the base's, its validation scores and the gate's verdict."""
    rewards = list(dict.fromkeys([*settings.rewards, *selection_rewards]))
    features, distance = metrics.feature_metrics(images, base_images, settings, models)
    test = {
        **metrics.score_metrics(scores, rewards),
        **metrics.comparison_metrics(scores, base_scores, rewards),
        **metrics.image_metrics(images),
        **features,
    }
    validation = metrics.score_metrics(validation_scores, rewards)
    values = {f"test/{name}": value for name, value in test.items()}
    values |= {f"validation/{name}": value for name, value in validation.items()}
    measured = metrics.with_intervals(values, settings.bootstrap_resamples, seed)
    return {**measured, "test/distance_to_base": distance, **{f"gate/{name}": gate[name] for name in OPEN_GATE}}
