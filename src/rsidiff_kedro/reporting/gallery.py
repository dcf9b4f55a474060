"""Show the same prompts and seeds in every round, side by side, as HTML with the images in it."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.reporting.contact_sheet import resized
from rsidiff_kedro.reporting.render import render

TINY = 96
"""Pixels; narrower images are kept and enlarged by the browser, wider ones reduced to `SHOWN_WIDTH`."""
SHOWN_WIDTH = 192


def gallery_html(test_images: Sequence[ImageSet], test_scores: Sequence[pd.DataFrame], prompts: int = 24) -> Markup:
    """Return a table with one row per prompt and one column per round.

    The prompts are spread evenly over the test set in the order of their ids, so nobody picked them. The first sample
    of each is shown. Where the scores have a column `correct`, each image carries the judge's verdict.

    Args:
        test_images: one set per round, the base first; all of the same prompts and seeds.
        test_scores: the tables of the same rounds, with image_id and perhaps correct.
        prompts: how many rows.

    Raises:
        ValueError: images and scores differ in number, or rounds differ in their prompts.
    """
    if len(test_images) != len(test_scores) or not test_images:
        raise ValueError(f"{len(test_images)} image sets and {len(test_scores)} score tables; give one each per round")
    first_rows = [_first_samples(images.metadata) for images in test_images]
    chosen = _spread(sorted(first_rows[0]), prompts)
    for number, samples in enumerate(first_rows):
        missing = set(chosen) - set(samples)
        if missing:
            raise ValueError(f"round {number} has no image of the prompt {min(missing)}, which round 0 has")
    verdicts = [_verdicts(scores) for scores in test_scores]
    names = [_round_name(number) for number in range(len(test_images))]
    rows = [_row(prompt_id, test_images, first_rows, verdicts) for prompt_id in chosen]
    return render("gallery", rounds=names, rows=rows)


def spread_rows(metadata: pd.DataFrame, prompts: int) -> list[int]:
    """Return positions of the first sample of `prompts` prompts (all, if fewer), spread evenly over their ids."""
    rows = _first_samples(metadata)
    return [rows[prompt_id] for prompt_id in _spread(sorted(rows), prompts)]


def _first_samples(metadata: pd.DataFrame) -> dict[str, int]:
    """Return by prompt_id the position of its image with the lowest sample_index."""
    ordered = metadata.reset_index(drop=True).sort_values("sample_index", kind="stable")
    return {str(prompt_id): int(row) for row, prompt_id in reversed(list(ordered["prompt_id"].items()))}


def _spread(ids: Sequence[str], count: int) -> list[str]:
    """Return `count` of the ids at equal distances, or all if there are fewer."""
    if len(ids) <= count:
        return list(ids)
    return [ids[int(position)] for position in np.linspace(0, len(ids) - 1, count)]


def _verdicts(scores: pd.DataFrame) -> dict[str, bool]:
    """Return by image_id whether the judge found everything right; empty without a judge."""
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
) -> dict[str, Any]:
    first = test_images[0].metadata.iloc[first_rows[0][prompt_id]]
    cells = []
    for number, (images, rows) in enumerate(zip(test_images, first_rows, strict=True)):
        position = rows[prompt_id]
        correct = verdicts[number].get(str(images.metadata["image_id"].iloc[position]))
        label = f"{_round_name(number)}: {first['text']}"
        cells.append({"label": label, "correct": correct, **_picture(images.images[position])})
    return {"text": str(first["text"]), "seed": int(first["seed"]), "cells": cells}


def _picture(image: Image.Image) -> dict[str, Any]:
    """Return an image as a data address: a tiny one as PNG, pixel by pixel; a large one reduced, as JPEG."""
    buffer = io.BytesIO()
    tiny = image.width <= TINY
    if tiny:
        image.save(buffer, format="PNG", optimize=True)
    else:
        resized(image, min(1.0, SHOWN_WIDTH / image.width)).convert("RGB").save(buffer, format="JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    width = image.width * max(1, math.floor(TINY / image.width)) if tiny else min(SHOWN_WIDTH, image.width)
    return {"tiny": tiny, "width": width, "source": f"data:image/{'png' if tiny else 'jpeg'};base64,{data}"}
