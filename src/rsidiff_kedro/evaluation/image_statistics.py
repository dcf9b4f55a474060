"""Compute statistics of one image that drift when a model trains on its own samples."""

import numpy as np
from PIL import Image


def saturation(image: Image.Image) -> float:
    """Return the mean HSV saturation, in [0, 1]; 0 for a gray image."""
    return float(np.asarray(image.convert("RGB").convert("HSV"))[..., 1].mean() / 255)


def sharpness(image: Image.Image) -> float:
    """Return the mean absolute Laplacian of the luminance over inner pixels, in [0, 4] of full scale; 0 if flat.

    Raises:
        ValueError: the image is smaller than 3 x 3 pixels.
    """
    if min(image.size) < 3:
        raise ValueError(f"sharpness needs an image of 3 x 3 pixels or more, not {image.size[0]} x {image.size[1]}")
    light = np.asarray(image.convert("L"), dtype=np.float64)
    around = light[:-2, 1:-1] + light[2:, 1:-1] + light[1:-1, :-2] + light[1:-1, 2:]
    return float(np.abs(around - 4 * light[1:-1, 1:-1]).mean() / 255)
