"""Node functions of evaluation."""

import pandas as pd

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.evaluation import metrics
from rsidiff_kedro.evaluation.metrics import EvaluationSettings
from rsidiff_kedro.evaluation.reward_gap import held_out_columns, reward_gap
from rsidiff_kedro.execution.unfinished import unfinished_folder
from rsidiff_kedro.method.gate import OPEN_GATE
from rsidiff_kedro.rewards.registry import RewardsSettings


def measure(
    images: ImageSet,
    scores: pd.DataFrame,
    validation_scores: pd.DataFrame,
    selection_rewards: dict[str, float],
    settings: EvaluationSettings,
    models: RewardsSettings,
    seed: int,
    base_images: ImageSet | None = None,
    base_scores: pd.DataFrame | None = None,
    gate: dict[str, float] | None = None,
) -> dict[str, float]:
    """Compute a round's metrics.

    Args:
        images: the round's test images.
        scores: their scores.
        validation_scores: scores of the round's validation images.
        selection_rewards: the weight of each reward that selects.
        settings: see `EvaluationSettings`.
        models: where preference models are.
        seed: of the bootstrap.
        base_images: the base's test images; None for the base itself, which then wins half the time.
        base_scores: their scores.
        gate: the gate's verdict; None for an adapter that passed no gate.
    """
    base_images, base_scores = (images, scores) if base_images is None else (base_images, base_scores)
    rewards = list(dict.fromkeys([*settings.rewards, *selection_rewards]))
    bootstrap = settings.bootstrap_resamples, seed
    embedded = metrics.embed(images, base_images, settings, models, unfinished_folder())
    diversity, over_base = metrics.diversity_metrics(scores, base_scores, embedded, *bootstrap)
    test = {
        **metrics.score_metrics(scores, rewards),
        **metrics.comparison_metrics(scores, base_scores, rewards),
        **metrics.image_metrics(images),
        **diversity,
    }
    values = {f"test/{name}": value for name, value in test.items()}
    validation = metrics.score_metrics(validation_scores, rewards)
    values |= {f"validation/{name}": value for name, value in validation.items()}
    measured = metrics.with_intervals(values, *bootstrap) | metrics.named("test/diversity_over_base", over_base)
    held_out = held_out_columns(scores, rewards, selection_rewards)
    if held_out:
        gap = reward_gap(scores, base_scores, selection_rewards, held_out, *bootstrap)
        measured |= metrics.named("test/reward_gap", gap)
    verdict = {f"gate/{name}": (gate or OPEN_GATE)[name] for name in OPEN_GATE}
    return {**measured, "test/distance_to_base": embedded.distance, **verdict}
