"""Encode inputs in micro-batches of one shape, so that a result depends on its input alone; cache the results."""

import hashlib
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

Item = TypeVar("Item")


def in_micro_batches(
    items: Sequence[Item], size: int, compute: Callable[[list[Item]], Tensor], places: Sequence[int] | None = None
) -> list[Tensor]:
    """Return one result per item; every batch has `size` items, the last one padded with its last item.

    The shape of a batch decides the order of additions, so a fixed one makes a result independent of other items.
    Items are taken batch by batch and not kept: they may be images that are opened on access.

    Args:
        items: images, prompts or features.
        size: of a batch.
        compute: returns a batch's results along the first axis.
        places: indices of the items to compute; None: all.
    """
    places = list(range(len(items)) if places is None else places)
    results: list[Tensor] = []
    for start in range(0, len(places), size):
        here = places[start : start + size]
        filled = here + here[-1:] * (size - len(here))
        results.extend(compute([items[place] for place in filled])[: len(here)].cpu())
    return results


class Cache:
    """Encodes each distinct input once and keeps the last 4,096 results, vectors of `width` numbers."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._kept: dict[Hashable, Tensor] = {}

    def encode(
        self, keys: Sequence[Hashable], items: Sequence[Item], size: int, compute: Callable[[list[Item]], Tensor]
    ) -> Tensor:
        """Return the results of `in_micro_batches` as [n, width]; items with equal keys are equal."""
        new = {key: place for place, key in enumerate(keys) if key not in self._kept}
        results = {key: self._kept[key] for key in keys if key in self._kept}
        results |= dict(zip(new, in_micro_batches(items, size, compute, list(new.values())), strict=True))
        self._kept |= results
        for key in list(self._kept)[:-4096]:
            del self._kept[key]
        return torch.stack([results[key] for key in keys]) if keys else torch.empty(0, self._width)


def image_key(image: Image.Image) -> Hashable:
    """Return the same value for images of equal pixels, mode and palette."""
    digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
    return image.mode, image.size, repr(image.getpalette()), digest
