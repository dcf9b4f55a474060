"""The steps of fine-tuning."""

from dataclasses import replace

import pandas as pd

from rsidiff_kedro.diffusion import training
from rsidiff_kedro.diffusion.adapters import Adapter
from rsidiff_kedro.diffusion.backbones import load_backbone
from rsidiff_kedro.diffusion.image_set import ImageSet, concatenate
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings
from rsidiff_kedro.lineage.unfinished import unfinished_folder
from rsidiff_kedro.statistics.distribution import effective_sample_size


def start_adapter(model: ModelSettings, rank: int, layers: str, seed: int) -> Adapter:
    """Make the adapter of round 0, with which the model draws as the base does, whatever it will be trained with."""
    settings = FinetuneSettings.model_validate({"rank": rank, "layers": layers})
    return training.initial_adapter(load_backbone(model), settings, seed)


def build_first_training_set(images: ImageSet, weights: pd.DataFrame, round_number: int) -> ImageSet:
    """The round's kept images with their weights."""
    rows = images.metadata["image_id"].isin(weights["image_id"]).to_numpy().nonzero()[0]
    kept = images.select(rows)
    weight = kept.metadata["image_id"].map(weights.set_index("image_id")["weight"])
    return replace(kept, metadata=kept.metadata.assign(round=round_number, weight=weight.astype("float64")))


def build_training_set(
    images: ImageSet,
    weights: pd.DataFrame,
    previous: ImageSet,
    replay_rounds: int,
    replay_base: bool,
    round_number: int,
) -> ImageSet:
    """The round's kept images, and those of earlier rounds that are not older than `replay_rounds`.

    With `replay_base`, those of round 1, which the base drew, too.
    """
    rounds = previous.metadata["round"]
    replayed = (rounds >= round_number - replay_rounds) | (replay_base & (rounds == 1))
    own = build_first_training_set(images, weights, round_number)
    return concatenate([own, previous.select(replayed.to_numpy().nonzero()[0])]) if replayed.any() else own


def finetune(
    training_set: ImageSet,
    parent: Adapter,
    model: ModelSettings,
    settings: FinetuneSettings,
    seed: int,
    round_number: int,
) -> tuple[Adapter, pd.DataFrame]:
    """Train the round's candidate; also returns the log of its steps."""
    return training.finetune(
        load_backbone(model), parent, training_set, settings, seed, round_number, unfinished_folder()
    )


def measure_training(
    selection: pd.DataFrame, weights: pd.DataFrame, training_set: ImageSet, training_log: pd.DataFrame
) -> dict[str, float]:
    """What the round trained on and how: figures that the base, round 0, has none of."""
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
