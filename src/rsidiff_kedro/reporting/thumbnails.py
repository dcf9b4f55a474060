"""Make small pictures that a page holds in itself."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from rsidiff_kedro.reporting.contact_sheet import resized

TINY = 96
"""Pixels; images up to this width keep every pixel, and the browser enlarges them to it."""
FEW = 2_000
"""Images up to which a page has the larger thumbnails."""
SIDES = (192, 128)
"""Pixels of the longer side: of few images, and of many. Ten thousand of the smaller ones take some 40 MB."""


@dataclass(frozen=True)
class Thumbnails:
    """The size in which the images of one set are shown, all of the first one's size.

    Attributes:
        width, height: on the page, in pixels of CSS.
        tiny: each pixel of the image is shown as a sharp square.
        scale: of the stored thumbnail to the image.
    """

    width: int
    height: int
    tiny: bool
    scale: float

    @classmethod
    def of(cls, images: Sequence[Image.Image], count: int) -> "Thumbnails":
        """Choose a size for images like the first one, of which a page shows `count`."""
        width, height = images[0].size if len(images) else (TINY, TINY)
        if max(width, height) <= TINY:
            factor = TINY // max(width, height)
            return cls(width * factor, height * factor, True, 1.0)
        scale = min(1.0, SIDES[count > FEW] / max(width, height))
        return cls(round(width * scale), round(height * scale), False, scale)

    def source(self, image: Image.Image) -> str:
        """Return an image as a data address in WebP: a tiny one without loss, another one reduced."""
        buffer = io.BytesIO()
        if self.tiny:
            image.save(buffer, format="WEBP", lossless=True)
        else:
            resized(image, self.scale).convert("RGB").save(buffer, format="WEBP", quality=75)
        return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()

    def size(self) -> Mapping[str, int | bool]:
        """Return what the page needs to know."""
        return {"width": self.width, "height": self.height, "tiny": self.tiny}
