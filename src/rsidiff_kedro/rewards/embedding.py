"""Embed images with the network that weighting and evaluation name."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rsidiff_kedro.core.image_set import ImageFiles, ImageSet
from rsidiff_kedro.execution.engine import run_shards
from rsidiff_kedro.execution.local import Shard, split
from rsidiff_kedro.execution.partial_results import PartialResults
from rsidiff_kedro.rewards.protocol import as_vectors
from rsidiff_kedro.rewards.registry import load_features
from rsidiff_kedro.rewards.scoring import OnPictures, Pictures, shard_size
from rsidiff_kedro.rewards.settings import RewardsSettings

if TYPE_CHECKING:
    from torch import Tensor


class Embedding(OnPictures):
    """Embed images."""

    def open(self) -> "Callable[[Shard, Pictures], Tensor]":
        """Open the network."""
        import torch  # slow to import, and a run is planned without

        network = load_features(self.name, **self.settings.options(self.name))

        def embed(shard: Shard, pictures: Pictures) -> "Tensor":
            vectors = torch.from_numpy(as_vectors(network.embed(*pictures), len(pictures[1]), self.name))
            PartialResults(self.folder).save(shard.key, vectors)
            return vectors

        return embed


def embed_sets(
    name: str, settings: RewardsSettings, sets: Mapping[str, ImageSet], unfinished: Path | None = None
) -> list[np.ndarray]:
    """Embed the images of several sets in shards, with a network that is opened once: float32 [n, d] of each.

    Args:
        sets: by names that tell their shards apart.
        unfinished: a folder of finished shards, which a later call reuses.

    Raises:
        ScoreError: there is not one finite vector per image.
    """
    size, shards = shard_size(settings), list[Shard]()
    calls: dict[str, Pictures] = {}
    ends: list[int] = []
    for part, images in sets.items():
        rows, texts, before = images.images, images.metadata["text"].tolist(), shards[-1].stop if shards else 0
        for key, start, stop in split([f"{part}_{name}_{row}" for row in range(len(images))], size):
            shards.append(Shard(key, before + start, before + stop))
            calls[key] = rows[start:stop], texts[start:stop]
        ends.append(len(shards))
    on_disk = all(isinstance(images.images, ImageFiles) for images in sets.values())
    embedding = Embedding(name, settings, unfinished, on_disk)
    parts = dict(run_shards(embedding, shards, lambda shard: calls[shard.key], f"embedding: {name}", delay=2))
    return [
        np.concatenate([parts[shard].numpy() for shard in shards[start:end]])
        if end > start
        else load_features(name, **settings.options(name)).embed([], [])
        for start, end in pairwise([0, *ends])
    ]
