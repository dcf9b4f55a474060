"""Read what a photograph's Exif says about its pixels: which side is up, and the colors that they are written in.

The rest of it is left unread, so an odd entry there does no harm.
"""

import struct

import numpy as np
from PIL import ExifTags, Image

from rsidiff_kedro.core.image_set import IMAGE_ERRORS

_BROKEN = (*IMAGE_ERRORS, struct.error, TypeError, AttributeError, LookupError, ArithmeticError)
"""Errors that Pillow raises for broken entries."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How an image is turned upright, by Exif's Orientation."""
_INDEX, _ADOBE_RGB = 1, "R03"
"""Exif's InteroperabilityIndex, and its value with which cameras mark Adobe RGB in place of a profile (DCF 2.0)."""


def turned_upright(opened: Image.Image) -> Image.Image:
    """Return a copy of an open image, turned as its Exif or XMP says; one whose Exif is broken stays as it is."""
    opened.load()
    try:
        turn = _TURNS.get(opened.getexif().get(ExifTags.Base.Orientation, 1))
    except _BROKEN:
        turn = None
    return opened.copy() if turn is None else opened.transpose(turn)


def is_adobe_rgb(opened: Image.Image) -> bool:
    """Tell whether an open image's Exif says that its colors are Adobe RGB."""
    try:
        index = opened.getexif().get_ifd(ExifTags.IFD.Interop).get(_INDEX)
    except _BROKEN:
        return False
    return isinstance(index, str) and index.strip("\0 ") == _ADOBE_RGB


_GAMMA = 563 / 256
_TO_SRGB = np.array([[1.39835574, -0.39835574, 0.0], [0.0, 1.0, 0.0], [0.0, -0.04292898, 1.04292898]], np.float32)
"""From linear Adobe RGB (1998) to linear sRGB, which have the same white: Adobe RGB (1998), version 2005-05."""
_ROWS = 256
"""Of pixels that are converted at once, because they take twenty times the memory meanwhile."""


def from_adobe_rgb(image: Image.Image) -> Image.Image:
    """Convert an image from Adobe RGB (1998) to sRGB; colors that sRGB lacks are cut."""
    pixels = np.array(image)
    linear = (np.arange(256, dtype=np.float32) / 255) ** _GAMMA
    for row in range(0, len(pixels), _ROWS):
        light = np.clip(linear[pixels[row : row + _ROWS]] @ _TO_SRGB.T, 0.0, 1.0)
        encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        pixels[row : row + _ROWS] = np.rint(encoded * 255)
    return Image.fromarray(pixels)
