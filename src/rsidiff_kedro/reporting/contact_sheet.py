"""Arrange many images on one sheet, for previews and for the tracking store."""

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from rsidiff_kedro.core.untrusted.text import printable

TARGET_WIDTH = 128
"""Pixels; `scale_for` brings an image's longer side near it."""
_GAP = 6
_LINE_HEIGHT = 12
_CAPTION_LINES = 4


def scale_for(images: Sequence[Image.Image]) -> float:
    """Return the factor that brings the first image's longer side near `TARGET_WIDTH`; whole where it enlarges."""
    ratio = TARGET_WIDTH / max(images[0].size) if len(images) else 1.0
    return float(round(ratio)) if ratio >= 1 else ratio


def resized(image: Image.Image, scale: float) -> Image.Image:
    """Return the image at another scale; enlarged pixels stay sharp squares."""
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS)


def contact_sheet(
    images: Sequence[Image.Image], columns: int, scale: float, captions: Sequence[str] | None = None
) -> Image.Image:
    """Arrange images in rows on white, from left to right and top to bottom, each of the first one's size.

    `scale` multiplies each image's width and height, see `scale_for`. A caption is wrapped below its image and cut
    after four lines. Without images the sheet is a small white image.

    Raises:
        ValueError: no column, a scale that is not positive, or captions of another number than the images.
    """
    if columns < 1 or scale <= 0:
        raise ValueError(f"a contact sheet needs columns >= 1 and scale > 0, not {columns} and {scale}")
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"{len(captions)} captions were given for {len(images)} images")
    if not len(images):
        return Image.new("RGB", (TARGET_WIDTH, _LINE_HEIGHT), "white")
    first = resized(images[0], scale)
    caption_height = _LINE_HEIGHT * _CAPTION_LINES if captions is not None else 0
    width, height = first.width + _GAP, first.height + caption_height + _GAP
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for position, image in enumerate(images):
        left, top = _GAP + position % columns * width, _GAP + position // columns * height
        sheet.paste(resized(image, scale) if image.size == images[0].size else image.resize(first.size), (left, top))
        if captions is not None:
            lines = _wrapped(captions[position], first.width)
            draw.multiline_text((left, top + first.height), lines, fill="black", font=font, spacing=1)
    return sheet


def drawable(text: str) -> str:
    """Return a text in one line; characters that the built-in font lacks become '?'."""
    return printable(text[:1000]).encode("latin-1", "replace").decode("latin-1")  # no caption holds more


def _wrapped(caption: str, width: int) -> str:
    """Break a caption into lines that fit the width."""
    characters = max(4, int(width / 5.4))  # pixels per character
    return "\n".join(textwrap.wrap(drawable(caption), characters, max_lines=_CAPTION_LINES, placeholder=" ..."))
