"""Stop when a network computes what no sound one does: numbers that are not finite, or worthless images."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rsidiff_kedro.diffusion.bases import ModelError


def check_finite(tensors: Iterable[Tensor], what: str) -> None:
    """Raise ModelError if a number is NaN or infinite; `what` names the numbers: "latents for 'a cat'"."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise ModelError(
            f"the model computes NaN or infinite {what}; its weights or the adapter are broken, so download or train "
            "them again, or model.dtype is too narrow, so set model.dtype=float32"
        )


def is_flat(tensor: Tensor) -> bool:
    """Tell whether each sample [c, h, w] of [n, c, h, w] has one value per channel."""
    return bool((tensor == tensor[..., :1, :1]).all())


_ENOUGH_PROMPTS = 8
_SAME = 2
"""Of 255; so far apart are two values that look the same."""
_CLIPPED = 0.999
"""The share of values that are 0 or 255 in an image that is clipped."""

Pixels = np.ndarray
_FAULTS: dict[str, Callable[[Pixels, Pixels], bool]] = {
    "have one colour each": lambda image, _: bool((np.ptp(image, axis=(0, 1)) <= _SAME).all()),
    "are clipped: their values are 0 or 255": lambda image, _: bool(np.isin(image, (0, 255)).mean() >= _CLIPPED),
    "are the same": lambda image, first: image.shape == first.shape and bool((abs(image - first) <= _SAME).all()),
}
"""Tell of an image, and of the first one, whether it is worthless."""


class WorthlessImages:
    """Stop when all images have the same fault: those of the first eight prompts, or of all if there are fewer.

    One such image, or all of a prompt such as "a white wall" or "a black line", may be right, so one prompt is never
    enough. A sound model that is asked for different things from different noise does not answer all of them so; a
    broken decoder, which makes nothing of its latents, does.

    Args:
        prompts: how many different prompts there will be.
    """

    def __init__(self, prompts: int) -> None:
        self._enough = max(2, min(prompts, _ENOUGH_PROMPTS))
        self._prompts: set[str] = set()
        self._faults = [*_FAULTS]
        self._first: Pixels | None = None

    def add(self, images: Sequence[Image.Image], prompts: Iterable[str]) -> None:
        """Look at further images while all had the same fault; raise ModelError if those of enough prompts have it."""
        self._prompts |= {*prompts}
        for image in images if self._faults else ():
            pixels = np.asarray(image.convert("RGB")).astype(np.int16)
            self._first = pixels if self._first is None else self._first
            self._faults = [fault for fault in self._faults if _FAULTS[fault](pixels, self._first)]
        if self._faults and len(self._prompts) >= self._enough:
            raise ModelError(
                f"all images of {len(self._prompts)} prompts {self._faults[0]}; the autoencoder (model.base, vae) "
                "or the adapter is broken, so download or train it again, or guidance_scale is far too high: lower it"
            )
