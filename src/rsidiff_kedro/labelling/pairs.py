"""Choose which two images of a prompt are shown, in which order and on which side."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from rsidiff_kedro.core.image_set import ImageFiles, ImageSet
from rsidiff_kedro.core.votes import VotesError

MOST = 10_000
"""Pairs of a session."""


@dataclass(frozen=True)
class Pair:
    """Two images of one prompt.

    Attributes:
        prompt_id, text: the prompt.
        ids: of the left and the right image.
        paths: of their files.
    """

    prompt_id: str
    text: str
    ids: tuple[str, str]
    paths: tuple[Path, Path]


def choose_pairs(images: ImageSet, seed: int, round_number: int, voted: Collection[frozenset[str]] = ()) -> list[Pair]:
    """Return pairs of a round's images in a random order: first one pair of each prompt, then a second, and so on.

    These are all pairs of finished images, unless there are more than `MOST`, which nobody looks at.

    Args:
        images: of the round, on disk.
        seed: determines, with the round, the order and the sides.
        round_number: of the round.
        voted: ids of the images of pairs that are left out.

    Raises:
        VotesError: no prompt has two images.
    """
    assert isinstance(images.images, ImageFiles)
    rng = np.random.default_rng([seed, round_number])
    metadata, found = images.metadata.reset_index(drop=True), list[tuple[int, float, Pair]]()
    finished = metadata[~metadata["dropped"]] if "dropped" in metadata else metadata
    samples = sorted((prompt_id, rows) for prompt_id, rows in finished.groupby("prompt_id").groups.items())
    turns = -(-MOST // max(1, len(samples)))
    for place in sorted(rng.permutation(len(samples))[:MOST]):
        prompt_id, rows = samples[place]
        pairs = list(combinations(sorted(rows), 2))
        for turn, number in enumerate(rng.permutation(len(pairs))[:turns]):
            left, right = pairs[number] if rng.random() < 0.5 else pairs[number][::-1]
            ids = metadata["image_id"].iloc[left], metadata["image_id"].iloc[right]
            paths = images.images.path(left), images.images.path(right)
            found.append((turn, rng.random(), Pair(str(prompt_id), metadata["text"].iloc[left], ids, paths)))
    if not found:
        raise VotesError(
            f"no prompt of round {round_number} has two images; make a run with synthesis.samples_per_prompt=2 or more"
        )
    ordered = [pair for *_, pair in sorted(found, key=lambda each: each[:2])][:MOST]
    return [pair for pair in ordered if frozenset(pair.ids) not in voted]
