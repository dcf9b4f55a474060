"""The same prompts and seeds in every round, side by side, as HTML with the images in it."""

import base64
import io
import math
from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd
from PIL import Image

from rsidiff_kedro.diffusion.image_set import ImageSet
from rsidiff_kedro.reporting.contact_sheet import resized

TINY = 96
"""Pixels; narrower images are kept as they are and enlarged by the browser, wider ones reduced to `SHOWN_WIDTH`."""
SHOWN_WIDTH = 192


def gallery_html(test_images: Sequence[ImageSet], test_scores: Sequence[pd.DataFrame], prompts: int = 24) -> str:
    """A table: prompts down, rounds across, one seed a row.

    The prompts are spread evenly over the test set in the order of their ids, so nobody picked them; of each, the
    first sample is shown. Where the scores have a column `correct`, each image carries the judge's verdict.

    Args:
        test_images: a set a round, the base first; all of the same prompts and seeds.
        test_scores: the tables of the same rounds, with image_id and perhaps correct.
        prompts: how many rows.

    Raises:
        ValueError: the rounds are not of equal number, or differ in their prompts.
    """
    if len(test_images) != len(test_scores) or not test_images:
        raise ValueError(f"{len(test_images)} image sets and {len(test_scores)} score tables; give one a round each")
    first_rows = [_first_samples(images.metadata) for images in test_images]
    chosen = _spread(sorted(first_rows[0]), prompts)
    for number, rows in enumerate(first_rows):
        missing = set(chosen) - set(rows)
        if missing:
            raise ValueError(f"round {number} has no image of the prompt {min(missing)}, which round 0 has")
    verdicts = [_verdicts(scores) for scores in test_scores]
    head = "".join(f'<th scope="col">{_round_name(number)}</th>' for number in range(len(test_images)))
    body = "".join(_row(prompt_id, test_images, first_rows, verdicts) for prompt_id in chosen)
    return (
        f'<table class="gallery"><thead><tr><th scope="col">prompt</th>{head}</tr></thead><tbody>{body}</tbody></table>'
    )


def spread_rows(metadata: pd.DataFrame, prompts: int) -> list[int]:
    """Positions of the first sample of `prompts` prompts (all, if there are fewer), spread evenly over their ids."""
    rows = _first_samples(metadata)
    return [rows[prompt_id] for prompt_id in _spread(sorted(rows), prompts)]


def _first_samples(metadata: pd.DataFrame) -> dict[str, int]:
    """By prompt_id, the position of its image with the lowest sample_index."""
    ordered = metadata.reset_index(drop=True).sort_values("sample_index", kind="stable")
    return {str(prompt_id): int(row) for row, prompt_id in reversed(list(ordered["prompt_id"].items()))}


def _spread(ids: Sequence[str], count: int) -> list[str]:
    """`count` of the ids at equal distances, or all if there are fewer."""
    if len(ids) <= count:
        return list(ids)
    return [ids[int(position)] for position in np.linspace(0, len(ids) - 1, count)]


def _verdicts(scores: pd.DataFrame) -> dict[str, bool]:
    """By image_id, whether the judge found everything right; empty if there was no judge."""
    if "correct" not in scores:
        return {}
    judged = scores.dropna(subset=["correct"])
    return dict(zip(judged["image_id"].astype(str), judged["correct"].astype(bool), strict=True))


def _round_name(number: int) -> str:
    return "base" if number == 0 else f"round {number}"


def _row(
    prompt_id: str,
    test_images: Sequence[ImageSet],
    first_rows: Sequence[dict[str, int]],
    verdicts: Sequence[dict[str, bool]],
) -> str:
    metadata, row = test_images[0].metadata, first_rows[0][prompt_id]
    text = str(metadata["text"].iloc[row])
    cells = [f'<th scope="row"><bdi>{escape(text)}</bdi><br><small>seed {int(metadata["seed"].iloc[row])}</small></th>']
    for number, (images, rows) in enumerate(zip(test_images, first_rows, strict=True)):
        position = rows[prompt_id]
        image_id = str(images.metadata["image_id"].iloc[position])
        label = f"{_round_name(number)}: {text}"
        cells.append(f"<td>{_picture(images.images[position], label)}{_mark(verdicts[number].get(image_id))}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _mark(correct: bool | None) -> str:
    if correct is None:
        return ""
    word, sign = ("right", "✓") if correct else ("wrong", "✗")
    return f'<span class="verdict {word}" title="the judge: {word}">{sign}</span>'


def _picture(image: Image.Image, label: str) -> str:
    """An <img> with the image in it: tiny ones as PNG, pixel by pixel; large ones reduced, as JPEG."""
    buffer = io.BytesIO()
    tiny = image.width <= TINY
    if tiny:
        image.save(buffer, format="PNG", optimize=True)
    else:
        resized(image, min(1.0, SHOWN_WIDTH / image.width)).convert("RGB").save(buffer, format="JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    width = image.width * max(1, math.floor(TINY / image.width)) if tiny else min(SHOWN_WIDTH, image.width)
    kind, style = ("png", ' class="tiny"') if tiny else ("jpeg", "")
    return f'<img{style} width="{width}" loading="lazy" alt="{escape(label)}" src="data:image/{kind};base64,{data}">'
