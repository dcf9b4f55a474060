"""Node functions of fine-tuning."""

from typing import Any

import pandas as pd

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.training_set import TrainingSet, effective_sample_size
from rsidiff_kedro.diffusion.settings import FinetuneSettings, LoraSettings, ModelSettings
from rsidiff_kedro.execution.unfinished import unfinished_folder
from rsidiff_kedro.method.replay import weighted_images, with_replay
from rsidiff_kedro.method.settings import ReplaySettings


def start_adapter(model: ModelSettings, seed: int, **settings: Any) -> Adapter:
    """Make the adapter of round 0, with which the model generates as the base does; `settings` are `LoraSettings`."""
    from rsidiff_kedro.diffusion import training
    from rsidiff_kedro.diffusion.opening import load_model

    return training.initial_adapter(load_model(model), LoraSettings(**settings), seed)


def build_training_set(
    images: ImageSet, weights: pd.DataFrame, previous: TrainingSet, replay: ReplaySettings, round_number: int
) -> TrainingSet:
    """Join the round's kept images with those of earlier rounds that are replayed."""
    return with_replay(weighted_images(images, weights, round_number), previous, replay, round_number)


def finetune(
    training_set: TrainingSet,
    parent: Adapter,
    model: ModelSettings,
    settings: FinetuneSettings,
    seed: int,
    round_number: int,
) -> tuple[Adapter, pd.DataFrame]:
    """Train the round's candidate; also return the log of its steps."""
    from rsidiff_kedro.diffusion import training

    return training.finetune(model, parent, training_set, settings, seed, round_number, unfinished_folder())


def measure_training(
    selection: pd.DataFrame, weights: pd.DataFrame, training_set: TrainingSet, training_log: pd.DataFrame
) -> dict[str, float]:
    """Measure what the round trained on and how; round 0 has no such metrics."""
    kept = selection["kept"]
    tail = training_log["loss"].tail(max(1, len(training_log) // 10))
    return {
        "selection/kept": float(kept.mean()),
        "selection/margin": float(selection.loc[kept, "margin"].mean()),
        "weights/effective_sample_size": effective_sample_size(weights["weight"].to_numpy()),
        "weights/largest": float(weights["weight"].max()),
        "training/images": float(len(training_set)),
        "training/final_loss": float(tail.mean()),
    }
