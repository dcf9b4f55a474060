"""Arrange images in rows with a label beside each, to compare prompts or rounds by eye."""

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from rsidiff_kedro.reporting.contact_sheet import drawable, resized, scale_for

GAP = 8
LABEL_WIDTH = 190
FONT_SIZE = 14
_LINE = 18


def labelled_grid(rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """Return rows of images on white with their labels to the left; small images are enlarged, large ones stay.

    The images are of the first one's size. A label is wrapped, and cut where its row ends.

    Raises:
        ValueError: there is no image.
    """
    if not any(images for _, images in rows):
        raise ValueError("a grid needs at least one image")
    every = [image for _, images in rows for image in images]
    scale = max(1.0, scale_for(every))
    width, height = resized(every[0], scale).size
    columns = max(len(images) for _, images in rows)
    size = (LABEL_WIDTH + columns * (width + GAP) + 2 * GAP, len(rows) * (height + GAP) + GAP)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    for number, (label, images) in enumerate(rows):
        top = GAP + number * (height + GAP)
        lines = fitted(label, max(1, height // _LINE))
        draw.multiline_text((GAP, top), "\n".join(lines), fill="black", font=font, spacing=_LINE - FONT_SIZE)
        for column, image in enumerate(images):
            shown = resized(image, scale) if image.size == every[0].size else image.resize((width, height))
            sheet.paste(shown, (LABEL_WIDTH + GAP + column * (width + GAP), top))
    return sheet


def fitted(label: str, most: int) -> list[str]:
    """Break a label into lines that fit beside the images, at most this many; what is cut ends in " ..."."""
    characters = int(LABEL_WIDTH / (0.56 * FONT_SIZE))
    lines = [line for part in label.split("\n") for line in textwrap.wrap(drawable(part), characters) or [""]]
    if len(lines) > most:
        rest = " ".join(lines[most - 1 :])
        lines[most - 1 :] = textwrap.wrap(rest, characters, max_lines=1, placeholder=" ...")
    return lines
