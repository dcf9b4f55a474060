"""Node functions of evaluation."""

import pandas as pd

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings
from rsidiff_kedro.evaluation import metrics
from rsidiff_kedro.evaluation.reward_gap import held_out_columns, reward_gap
from rsidiff_kedro.evaluation.settings import EvaluationSettings
from rsidiff_kedro.execution.unfinished import unfinished_folder
from rsidiff_kedro.method.gate import OPEN_GATE
from rsidiff_kedro.method.selecting import selecting_rewards, selecting_weights
from rsidiff_kedro.method.settings import EarlyDroppingSettings
from rsidiff_kedro.pipelines.common import generate_images, score_images
from rsidiff_kedro.rewards.settings import RewardsSettings


def generate_images_unless_kept(
    adapter: Adapter,
    tested_adapter: Adapter,
    tested_images: ImageSet,
    prompts: pd.DataFrame,
    samples_per_prompt: int,
    model: ModelSettings,
    sampler: SamplerSettings,
    seed: int,
) -> ImageSet:
    """Generate test images; if the gate kept the adapter that was tested last, return its images."""
    if adapter.digest == tested_adapter.digest:
        return tested_images
    return generate_images(adapter, prompts, samples_per_prompt, model, sampler, seed, "test")


def score_images_unless_kept(
    adapter: Adapter,
    tested_adapter: Adapter,
    tested_scores: pd.DataFrame,
    images: ImageSet,
    rewards: list[str],
    selection_rewards: dict[str, float],
    judge: str | None,
    models: RewardsSettings,
) -> pd.DataFrame:
    """Score test images; if the gate kept the adapter that was tested last, return its scores."""
    if adapter.digest == tested_adapter.digest:
        return tested_scores
    return score_images(images, rewards, selection_rewards, judge, models)


def measure(
    images: ImageSet,
    scores: pd.DataFrame,
    validation_scores: pd.DataFrame,
    selects: bool,
    selection_rewards: dict[str, float],
    floors: dict[str, float],
    early_dropping: EarlyDroppingSettings | None,
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
        selects: whether selection is on.
        selection_rewards: the weight of each reward in its score; they are reported also if it is off.
        floors: the floor of each reward that has one.
        early_dropping: whose reward selects, too; None if it is off.
        settings: see `EvaluationSettings`.
        models: where preference models are.
        seed: of the bootstrap.
        base_images: the base's test images; None for the base itself, which then wins half the time.
        base_scores: their scores.
        gate: the gate's verdict; None for an adapter that passed no gate.

    Raises:
        UnpairedError: the base was tested on other prompts or with another number of samples.
    """
    base_images, base_scores = (images, scores) if base_images is None else (base_images, base_scores)
    rewards = list(dict.fromkeys([*settings.rewards, *selection_rewards]))
    bootstrap = settings.bootstrap_resamples, seed
    compared = metrics.comparison_metrics(scores, base_scores, rewards)  # first, because it refuses other prompts
    embedded = metrics.embed(images, base_images, settings, models, unfinished_folder())
    diversity, over_base = metrics.diversity_metrics(scores, base_scores, embedded, *bootstrap)
    test = {
        **metrics.score_metrics(scores, rewards),
        **compared,
        **metrics.image_metrics(images),
        **diversity,
    }
    values = {f"test/{name}": value for name, value in test.items()}
    values |= _of_validation(validation_scores, rewards)
    measured = metrics.with_intervals(values, *bootstrap) | metrics.named("test/diversity_over_base", over_base)
    selecting = selecting_rewards(selects, selection_rewards, floors, early_dropping)
    weights = selecting_weights(selects, selection_rewards, early_dropping)
    weights = {name: weight for name, weight in weights.items() if name in rewards}
    held_out = held_out_columns(scores, rewards, selecting)
    if weights and held_out:
        gap = reward_gap(scores, base_scores, weights, held_out, *bootstrap)
        measured |= metrics.named("test/reward_gap", gap)
    return {**measured, "test/distance_to_base": embedded.distance, **_verdict(gate)}


def measure_validation(
    validation_scores: pd.DataFrame,
    selection_rewards: dict[str, float],
    settings: EvaluationSettings,
    seed: int,
    gate: dict[str, float] | None = None,
) -> dict[str, float]:
    """Compute the metrics that need no test images: all of a round that is not tested; see `measure`."""
    rewards = list(dict.fromkeys([*settings.rewards, *selection_rewards]))
    values = _of_validation(validation_scores, rewards)
    return metrics.with_intervals(values, settings.bootstrap_resamples, seed) | _verdict(gate)


def _of_validation(scores: pd.DataFrame, rewards: list[str]) -> metrics.Values:
    return {f"validation/{name}": value for name, value in metrics.score_metrics(scores, rewards).items()}


def _verdict(gate: dict[str, float] | None) -> dict[str, float]:
    found = {"enabled": 1.0, **(gate or OPEN_GATE)}  # verdicts of older versions, which do not say it, are of gates
    return {f"gate/{name}": found[name] for name in OPEN_GATE}
