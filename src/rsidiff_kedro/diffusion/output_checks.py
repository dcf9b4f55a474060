"""Stop when a network computes what no sound one does: numbers that are not finite, or images without content."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rsidiff_kedro.diffusion.model_folder import ModelError


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


class FlatImages:
    """Stop when all images have one colour each: those of the first eight prompts, or of all if there are fewer.

    One such image, or all of a prompt such as "a white wall", may be right, so one prompt is never enough. A sound
    model that is asked for different things from different noise does not answer all of them with one colour each; a
    broken decoder, which makes nothing of its latents, does.

    Args:
        prompts: how many different prompts there will be.
    """

    def __init__(self, prompts: int) -> None:
        self._enough = max(2, min(prompts, _ENOUGH_PROMPTS))
        self._prompts: set[str] = set()
        self._content = False

    def add(self, images: Sequence[Image.Image], prompts: Iterable[str]) -> None:
        """Look at further images, at none after one with content; raise ModelError if enough prompts have none."""
        self._prompts |= {*prompts}
        self._content = self._content or not all(map(_has_one_colour, images))
        if not self._content and len(self._prompts) >= self._enough:
            raise ModelError(
                f"all images of {len(self._prompts)} prompts have one colour each; the autoencoder (model.base, vae) "
                "or the adapter is broken, so download or train it again, or guidance_scale is far too high: lower it"
            )


def _has_one_colour(image: Image.Image) -> bool:
    pixels = np.asarray(image.convert("RGB"))
    return bool((pixels == pixels[0, 0]).all())
