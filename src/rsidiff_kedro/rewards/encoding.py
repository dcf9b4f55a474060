"""Encoding in micro-batches of one shape, each distinct input once, whatever the order and number of what is asked."""

import hashlib
from collections.abc import Callable, Hashable, Sequence
from typing import Literal, TypeVar

import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from rsidiff_kedro.errors import InputError

Item = TypeVar("Item")
Device = Literal["auto", "cpu", "cuda", "mps"]
DType = Literal["float32", "bfloat16", "float16"]


class DeviceError(InputError):
    """The device that preference models should compute on is not there."""


class Section(BaseModel):
    """Settings that refuse unknown names and cannot be changed after they were made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
        available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        there = [name for name, is_there in available.items() if is_there]
        if self.device not in ("auto", *there):
            raise DeviceError(
                f"rewards.device is {self.device!r}, but torch has {', '.join(there)} here; set one or auto"
            )
        return torch.device(there[0] if self.device == "auto" else self.device)

    @property
    def record(self) -> dict[str, str | int]:
        """What a score's record says of it."""
        return {"device": self.place.type, "dtype": self.dtype, "micro_batch_size": self.micro_batch_size}


def in_micro_batches(items: Sequence[Item], size: int, compute: Callable[[list[Item]], Tensor]) -> list[Tensor]:
    """A result an item; every batch has `size` items, the last one filled up with repetitions of its last item.

    A batch's shape decides in which order numbers are added up, so that a fixed one makes a result the item's alone.
    """
    results: list[Tensor] = []
    for start in range(0, len(items), size):
        batch = list(items[start : start + size])
        computed = compute(batch + batch[-1:] * (size - len(batch)))
        results.extend(computed[: len(batch)].cpu())
    return results


class Cache:
    """Encodes each distinct input once and keeps the last results, some kilobytes each."""

    def __init__(self, size: int = 4096) -> None:
        self._size = size
        self._kept: dict[Hashable, Tensor] = {}

    def encode(
        self, keys: Sequence[Hashable], items: Sequence[Item], encode: Callable[[list[Item]], list[Tensor]]
    ) -> Tensor:
        """The results of `encode`, stacked, for items of which those with equal keys are equal."""
        new = {key: item for key, item in zip(keys, items, strict=True) if key not in self._kept}
        results = {key: self._kept[key] for key in keys if key in self._kept}
        results |= dict(zip(new, encode(list(new.values())), strict=True))
        self._kept |= results
        for key in list(self._kept)[: -self._size]:
            del self._kept[key]
        return torch.stack([results[key] for key in keys])


def image_key(image: Image.Image) -> Hashable:
    """Equal for images of equal pixels, mode and palette."""
    palette = image.getpalette() if image.mode == "P" else None
    return image.mode, image.size, repr(palette), hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()
