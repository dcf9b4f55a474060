"""Read what a photograph's Exif says about its pixels: which side is up, and the colors that they are written in.

The rest of it is left unread, so an odd entry there does no harm.
"""

import struct

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
_ADOBE_RGB_SPACE = 2
"""The same as a value of Exif's ColorSpace, which no standard has, but many programs write and read."""


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
        exif = opened.getexif()
        space = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
        index = exif.get_ifd(ExifTags.IFD.Interop).get(_INDEX)
    except _BROKEN:
        return False
    return space == _ADOBE_RGB_SPACE or (isinstance(index, str) and index.strip("\0 ") == _ADOBE_RGB)
