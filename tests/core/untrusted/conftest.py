"""Profiles of color spaces, as programs write them."""

import struct

import pytest
from PIL import ImageCms

from rsidiff_kedro.core.untrusted.color_spaces import ADOBE_RGB, DISPLAY_P3

COLORANTS = {
    ADOBE_RGB: ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
    DISPLAY_P3: ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
}
"""Red, green and blue of each space in XYZ under D50, as Adobe and Apple publish them in their profiles."""


@pytest.fixture
def profile():
    """Return a function that makes a space's profile: sRGB's, as lcms makes it, with other primaries and gamma."""

    def make(space):
        content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
        for tag, values in zip((b"rXYZ", b"gXYZ", b"bXYZ"), COLORANTS[space], strict=True):
            (place,) = struct.unpack_from(">I", content, content.index(tag) + 4)
            struct.pack_into(">3i", content, place + 8, *(round(value * 65536) for value in values))
        for tag in (b"rTRC", b"gTRC", b"bTRC") if space.gamma is not None else ():
            (place,) = struct.unpack_from(">I", content, content.index(tag) + 4)
            assert content[place : place + 4] == b"para"
            struct.pack_into(">5i", content, place + 12, *(round(v * 65536) for v in (space.gamma, 1.0, 0.0, 1.0, 0.0)))
        return bytes(content)

    return make
