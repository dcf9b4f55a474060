"""Encode inputs in micro-batches of one shape, so that a result depends on its input alone; cache the results."""

import hashlib
from collections.abc import Callable, Hashable, Sequence
from typing import Annotated, Literal, TypeVar

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from rsidiff_kedro.core.devices import usable_devices
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.locations import NoResult
from rsidiff_kedro.core.section import Section

Item = TypeVar("Item")


class DeviceError(InputError):
    """A device for preference models that torch does not have."""


class Computing(Section):
    """Device, precision and batch size of preference models.

    Attributes:
        device: "auto" takes a GPU if there is one.
        dtype: of the network; scores are float32 in any case.
        micro_batch_size: images or prompts computed at once. Scores of two sizes may differ in the last digits, so
            their record includes it.
    """

    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], NoResult()] = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    micro_batch_size: int = Field(default=8, ge=1, le=1024)

    @property
    def place(self) -> torch.device:
        """Return the device; "auto" is the fastest one.

        Raises:
            DeviceError: torch has no such device here.
        """
        usable = usable_devices()
        if self.device not in ("auto", *usable):
            raise DeviceError(
                f"rewards.device is {self.device!r}, but torch has {', '.join(usable)} here; set one or auto"
            )
        return torch.device(usable[0] if self.device == "auto" else self.device)


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
