"""Many images on one: for previews and for the tracking store."""

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from rsidiff_kedro.core.untrusted.text import printable

TARGET_WIDTH = 128
"""Pixels; what `scale_for` brings a picture's longer side near."""
_GAP = 6
_FONT_SIZE = 10
_LINE_HEIGHT = 12
_CAPTION_LINES = 4
_CHARACTER_WIDTH = 5.4
_CAPTION_LENGTH = 1000
"""Characters that are looked at; four lines hold fewer."""


def scale_for(images: Sequence[Image.Image]) -> float:
    """The factor that brings the first image's longer side near `TARGET_WIDTH`: a whole number where it enlarges."""
    if not len(images):
        return 1.0
    ratio = TARGET_WIDTH / max(images[0].size)
    return float(max(1, round(ratio))) if ratio >= 1 else ratio


def resized(image: Image.Image, scale: float) -> Image.Image:
    """The image at another scale; enlarged pixels stay sharp squares, so that a tiny image shows what it is."""
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS)


def contact_sheet(
    images: Sequence[Image.Image], columns: int, scale: float, captions: Sequence[str] | None = None
) -> Image.Image:
    """Images in rows, from left to right and from top to bottom, on white, each of the first one's size.

    Args:
        images: RGB images; with none, the sheet is a small white image.
        columns: how many in a row, 1 or more.
        scale: factor of every image's width and height; see `scale_for`.
        captions: a line of text an image, wrapped below it and cut after four lines.

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
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    for position, image in enumerate(images):
        left, top = _GAP + position % columns * width, _GAP + position // columns * height
        sheet.paste(resized(image, scale) if image.size == images[0].size else image.resize(first.size), (left, top))
        if captions is not None:
            lines = _wrapped(captions[position], first.width)
            draw.multiline_text((left, top + first.height), lines, fill="black", font=font, spacing=1)
    return sheet


def _wrapped(caption: str, width: int) -> str:
    """The caption in lines that fit the width; characters that the built-in font lacks become '?'."""
    plain = printable(caption[:_CAPTION_LENGTH]).encode("latin-1", "replace").decode("latin-1")
    characters = max(4, int(width / _CHARACTER_WIDTH))
    return "\n".join(textwrap.wrap(plain, characters, max_lines=_CAPTION_LINES, placeholder=" ..."))
