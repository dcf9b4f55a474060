"""Define the training set that fine-tuning reads: latents, prompts and weights, without images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rsidiff_kedro.core.tensor_rows import Rows, TensorRows, select_rows

TRAINING_COLUMNS = ("image_id", "prompt_id", "text", "round", "weight")
"""Columns of every training set; `weight` (0 or more) multiplies an image's loss."""


@dataclass(frozen=True)
class TrainingSet:
    """Latents with their prompts and weights, one row per image.

    Attributes:
        metadata: the columns of `TRAINING_COLUMNS` and any others.
        latents: [n, channels, height, width], of the pipeline's dtype, in the scale that the denoiser sees;
            `latents[:]` is a tensor.
    """

    metadata: pd.DataFrame
    latents: Rows

    def __post_init__(self) -> None:
        missing = set(TRAINING_COLUMNS) - set(self.metadata.columns)
        if missing:
            raise ValueError(f"the metadata of a training set lacks the columns {sorted(missing)}")
        if len(self.metadata) != len(self.latents):
            raise ValueError(f"a training set has {len(self.metadata)} rows, but {len(self.latents)} latents")

    def __len__(self) -> int:
        return len(self.metadata)

    def select(self, rows: Sequence[int] | np.ndarray) -> "TrainingSet":
        """Return the images at these positions, in this order."""
        positions = [int(row) for row in rows]
        return TrainingSet(self.metadata.iloc[positions].reset_index(drop=True), select_rows(self.latents, positions))


def join_training_sets(sets: Iterable[TrainingSet]) -> TrainingSet:
    """Return one training set after the other."""
    parts = list(sets)
    metadata = pd.concat([part.metadata for part in parts], ignore_index=True)
    return TrainingSet(metadata, TensorRows.join([part.latents for part in parts]))


def effective_sample_size(weights: np.ndarray) -> float:
    """Return Kish's effective sample size as a share of n, in (0, 1]; it is one if all weights are equal."""
    return float(weights.sum() ** 2 / (len(weights) * (weights**2).sum()))
