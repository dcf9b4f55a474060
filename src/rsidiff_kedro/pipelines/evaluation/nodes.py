"""The steps of evaluation."""

from typing import Any, Literal

import pandas as pd

from rsidiff_kedro.diffusion.adapters import Adapter
from rsidiff_kedro.diffusion.backbones import load_backbone
from rsidiff_kedro.diffusion.image_set import ImageSet
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings
from rsidiff_kedro.lineage.unfinished import unfinished_folder
from rsidiff_kedro.parameters import EvaluationSettings, GateSettings
from rsidiff_kedro.pipelines.evaluation import gate as gating
from rsidiff_kedro.pipelines.evaluation import metrics as measures
from rsidiff_kedro.pipelines.evaluation.judging import judge_scenes
from rsidiff_kedro.rewards.scoring import with_scores
from rsidiff_kedro.rewards.settings import RewardsSettings

OPEN_GATE = {"accepted": 1.0, "reward_difference": 0.0, "reward_difference_low": 0.0, "reward_difference_high": 0.0}
"""What round 0 reports: the base passes, and differs from itself by nothing."""


def draw_validation_images(
    adapter: Adapter,
    prompts: pd.DataFrame,
    samples_per_prompt: int,
    model: ModelSettings,
    sampler: SamplerSettings,
    seed: int,
    round_number: int,
) -> ImageSet:
    """Draw the validation prompts, from the same seeds in every round."""
    title = f"round {round_number}: drawing for validation"
    return sample_images(
        load_backbone(model),
        adapter,
        prompts,
        samples_per_prompt,
        sampler,
        seed,
        "validation",
        title,
        unfinished_folder(),
    )


def draw_test_images(
    adapter: Adapter,
    prompts: pd.DataFrame,
    samples_per_prompt: int,
    model: ModelSettings,
    sampler: SamplerSettings,
    seed: int,
    round_number: int,
) -> ImageSet:
    """Draw the test prompts, from the same seeds in every round."""
    title = f"round {round_number}: drawing for the test"
    return sample_images(
        load_backbone(model), adapter, prompts, samples_per_prompt, sampler, seed, "test", title, unfinished_folder()
    )


def score_images(
    images: ImageSet,
    rewards: list[str],
    selection_rewards: dict[str, float],
    judge: Literal["scenes"] | None,
    models: RewardsSettings,
) -> pd.DataFrame:
    """Score images with every reward that is reported or selects, and with the judge."""
    table = images.metadata[["image_id", "prompt_id", "text", "sample_index"]]
    scores = with_scores(table, images.images, [*rewards, *selection_rewards], models, unfinished_folder())
    if judge == "scenes":
        verdicts = judge_scenes(images.images, scores["text"].tolist())
        scores[list(verdicts.columns)] = verdicts  # in place, as a join would lose the rewards' record
    return scores


def pass_gate(
    candidate: Adapter,
    parent: Adapter,
    candidate_scores: pd.DataFrame,
    parent_scores: pd.DataFrame,
    rewards: dict[str, float],
    settings: GateSettings,
    bootstrap_resamples: int,
    seed: int,
) -> tuple[Adapter, pd.DataFrame, dict[str, float]]:
    """Let the candidate go on if it does not lose to its parent on validation prompts, else the parent."""
    comparison = gating.compare(candidate_scores, parent_scores, rewards, bootstrap_resamples, seed)
    accepted = gating.decide(comparison, settings)
    adapter, scores = (candidate, candidate_scores) if accepted else (parent, parent_scores)
    return adapter, scores, {"accepted": float(accepted), **comparison}


def measure_base(
    images: ImageSet,
    scores: pd.DataFrame,
    validation_scores: pd.DataFrame,
    rewards: dict[str, float],
    evaluation: dict[str, Any],
    models: RewardsSettings,
    seed: int,
) -> dict[str, float]:
    """The metrics of round 0, the base; compared with itself it wins half the time."""
    itself = (images, scores, images, scores)
    return measure_without_gate(*itself, validation_scores, rewards, evaluation, models, seed)


def measure_without_gate(
    images: ImageSet,
    scores: pd.DataFrame,
    base_images: ImageSet,
    base_scores: pd.DataFrame,
    validation_scores: pd.DataFrame,
    rewards: dict[str, float],
    evaluation: dict[str, Any],
    models: RewardsSettings,
    seed: int,
) -> dict[str, float]:
    """The metrics of what no gate judged."""
    paired = (images, scores, base_images, base_scores, validation_scores)
    return measure(*paired, OPEN_GATE, rewards, evaluation, models, seed)


def measure(
    images: ImageSet,
    scores: pd.DataFrame,
    base_images: ImageSet,
    base_scores: pd.DataFrame,
    validation_scores: pd.DataFrame,
    gate: dict[str, float],
    selection_rewards: dict[str, float],
    evaluation: dict[str, Any],
    models: RewardsSettings,
    seed: int,
) -> dict[str, float]:
    """The metrics of a round: its test images and those of the base, its validation scores, and the gate's verdict."""
    settings = EvaluationSettings.model_validate(evaluation)
    rewards = list(dict.fromkeys([*settings.rewards, *selection_rewards]))
    features, distance = measures.feature_metrics(images, base_images, settings, models)
    test = {
        **measures.score_metrics(scores, rewards),
        **measures.comparison_metrics(scores, base_scores, rewards),
        **measures.image_metrics(images),
        **features,
    }
    validation = measures.score_metrics(validation_scores, rewards)
    values = {f"test/{name}": value for name, value in test.items()}
    values |= {f"validation/{name}": value for name, value in validation.items()}
    metrics = measures.with_intervals(values, settings.bootstrap_resamples, seed)
    return {**metrics, "test/distance_to_base": distance, **{f"gate/{name}": gate[name] for name in OPEN_GATE}}
