"""Encoding in micro-batches of one shape, each distinct input once, whatever the order and number of what is asked."""

import hashlib
from collections.abc import Callable, Hashable, Sequence
from typing import Literal, TypeVar

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from rsidiff_kedro.core.devices import usable_devices
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.section import Section

Item = TypeVar("Item")
Device = Literal["auto", "cpu", "cuda", "mps"]
DType = Literal["float32", "bfloat16", "float16"]


class DeviceError(InputError):
    """The device that preference models should compute on is not there."""


class Computing(Section):
    """Where and how preference models compute.

    Attributes:
        device: "auto" takes a GPU if there is one.
        dtype: of the network; scores are float32 whatever it is.
        micro_batch_size: images or prompts computed at once. Scores may differ in the last digits between sizes, so
            it is recorded with them.
    """

    device: Device = "auto"
    dtype: DType = "float32"
    micro_batch_size: int = Field(default=8, ge=1, le=1024)

    @property
    def place(self) -> torch.device:
        """The device that is meant; "auto" is the best that there is.

        Raises:
            DeviceError: torch has no such device here.
        """
        usable = usable_devices()
        if self.device not in ("auto", *usable):
            raise DeviceError(
                f"rewards.device is {self.device!r}, but torch has {', '.join(usable)} here; set one or auto"
            )
        return torch.device(usable[0] if self.device == "auto" else self.device)

    @property
    def record(self) -> dict[str, str | int]:
        """What a score's record says of it."""
        return {"device": self.place.type, "dtype": self.dtype, "micro_batch_size": self.micro_batch_size}


def in_micro_batches(
    items: Sequence[Item],
    size: int,
    compute: Callable[[list[Item]], Tensor],
    places: Sequence[int] | None = None,
) -> list[Tensor]:
    """A result an item; every batch has `size` items, the last one filled up with repetitions of its last item.

    A batch's shape decides in which order numbers are added up, so that a fixed one makes a result the item's alone.
    An item is taken from the sequence for its own batch and not kept, as it may be an image that is opened by that.

    Args:
        items: of which `places` are computed.
        size: items a batch.
        compute: the results of a batch, along the first axis.
        places: of the items; None: all.
    """
    places = range(len(items)) if places is None else places
    results: list[Tensor] = []
    for start in range(0, len(places), size):
        here = places[start : start + size]
        results.extend(compute(_batch(items, here, size))[: len(here)].cpu())
    return results


def _batch(items: Sequence[Item], places: Sequence[int], size: int) -> list[Item]:
    batch = [items[place] for place in places]
    return batch + batch[-1:] * (size - len(batch))


class Cache:
    """Encodes each distinct input once and keeps the last results, some kilobytes each."""

    def __init__(self, size: int = 4096) -> None:
        self._size = size
        self._kept: dict[Hashable, Tensor] = {}

    def encode(
        self, keys: Sequence[Hashable], items: Sequence[Item], size: int, compute: Callable[[list[Item]], Tensor]
    ) -> Tensor:
        """The results of `compute`, in micro-batches, stacked; items with equal keys are equal."""
        new = {key: place for place, key in enumerate(keys) if key not in self._kept}
        results = {key: self._kept[key] for key in keys if key in self._kept}
        results |= dict(zip(new, in_micro_batches(items, size, compute, list(new.values())), strict=True))
        self._kept |= results
        for key in list(self._kept)[: -self._size]:
            del self._kept[key]
        return torch.stack([results[key] for key in keys])


def image_key(image: Image.Image) -> Hashable:
    """Equal for images of equal pixels, mode and palette."""
    return (
        image.mode,
        image.size,
        repr(image.getpalette()),
        hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest(),
    )
