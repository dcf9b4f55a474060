"""Convert any image to a preference model's normalized square tensor; torchvision needs another build of torch."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from rsidiff_kedro.core.image_set import to_rgb


class Normalization(NamedTuple):
    """Mean and standard deviation of each channel of pixels in [0, 1]."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


OPENAI = Normalization((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Of CLIP's training images; HPSv2, PickScore and BLIP use them too."""
MOST_PIXELS = 2**25
"""An elongated image that would have more pixels after resizing is cropped first."""


def longest_side_padded(image: Image.Image, size: int, antialias: bool) -> Tensor:
    """Resize the longest side to `size`, pad to a black square, normalize, as HPSv2 does: [3, size, size].

    Resizes the float tensor (bicubic) without clamping. torchvision uses `antialias` since version 0.17.
    """
    pixels = _unit_tensor(to_rgb(image))
    height, width = pixels.shape[1:]
    scale = size / max(height, width)
    new = (max(1, round(height * scale)), max(1, round(width * scale)))
    if new != (height, width):
        pixels = functional.interpolate(pixels[None], new, mode="bicubic", align_corners=False, antialias=antialias)[0]
    down, across = size - new[0], size - new[1]
    return normalized(functional.pad(pixels, (across // 2, across - across // 2, down // 2, down - down // 2)))


def shortest_side_cropped(image: Image.Image, size: int, round_offset: bool, by: Normalization = OPENAI) -> Tensor:
    """Resize the shortest side to `size` (Pillow, bicubic), crop the centre, normalize: [3, size, size].

    CLIP and BLIP read such images. Where the centre is half a pixel off, torchvision rounds the offset (to even) and
    transformers rounds it down.
    """
    if image.mode.startswith("I"):
        image = to_rgb(image)
    short, long = min(image.size), max(image.size)
    resized = int(size * long / short)
    margin = resized - size
    start = round(margin / 2) if round_offset else margin // 2
    upright = image.height > image.width
    if resized * size > MOST_PIXELS:
        # Resize the centre alone; pixels may differ slightly, as Pillow rounds between its two passes.
        span = start * long / resized, (start + size) * long / resized
        box = (0, span[0], short, span[1]) if upright else (span[0], 0, span[1], short)
        cropped = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    else:
        whole = image.resize((size, resized) if upright else (resized, size), Image.Resampling.BICUBIC)
        corner = (0, start) if upright else (start, 0)
        cropped = whole.crop((*corner, corner[0] + size, corner[1] + size))
    return normalized(_unit_tensor(to_rgb(cropped)), by)


def normalized(pixels: Tensor, by: Normalization = OPENAI) -> Tensor:
    """Normalize pixels in [0, 1], [3, h, w], by each channel's mean and standard deviation."""
    return (pixels - torch.tensor(by.mean)[:, None, None]) / torch.tensor(by.deviation)[:, None, None]


def _unit_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
