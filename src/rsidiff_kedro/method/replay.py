"""Replay: train each round also on the images that earlier rounds kept, so that the model does not forget them.

A round's training set holds its own kept images first, then those of the last `rounds` rounds and, with `base`, of
round 1. Each image keeps the weight that its own round gave it.
"""

import pandas as pd

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.tensor_rows import select_rows
from rsidiff_kedro.core.training_set import TrainingSet, join_training_sets
from rsidiff_kedro.method.settings import ReplaySettings


def weighted_images(images: ImageSet, weights: pd.DataFrame, round_number: int) -> TrainingSet:
    """Return the round's kept images as a training set: their latents, prompts and weights.

    Args:
        images: of the round, with latents.
        weights: one row per kept image: image_id and weight.
        round_number: recorded with each image.

    Raises:
        InputError: a weight is of no image of the round.
    """
    if images.latents is None:
        raise ValueError("a training set needs images with latents")
    rows = images.rows_of(weights["image_id"])
    # Early dropping's columns say the same of all kept images, and other rounds may have none.
    other = images.metadata.columns.intersection(["file_name", "early_reward", "dropped"])
    metadata = images.metadata.drop(columns=other).iloc[rows].reset_index(drop=True)
    weight = metadata["image_id"].map(weights.set_index("image_id")["weight"]).astype("float64")
    return TrainingSet(metadata.assign(round=round_number, weight=weight), select_rows(images.latents, rows))


def with_replay(own: TrainingSet, previous: TrainingSet, settings: ReplaySettings, round_number: int) -> TrainingSet:
    """Return the round's own images, followed by the replayed ones of the previous round's training set."""
    rounds = previous.metadata["round"]
    replayed = (rounds >= round_number - settings.rounds) | (settings.base & (rounds == 1))
    if not replayed.any():
        return own
    return join_training_sets([own, previous.select(replayed.to_numpy().nonzero()[0])])
