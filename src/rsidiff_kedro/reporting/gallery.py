"""Show the same prompts and seeds in every round, side by side, as HTML with the images in it."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.reporting.contact_sheet import resized
from rsidiff_kedro.reporting.render import render

TINY = 96
"""Pixels; narrower images are kept and enlarged by the browser, wider ones reduced to `SHOWN_WIDTH`."""
SHOWN_WIDTH = 192


def gallery_html(test_images: Sequence[ImageSet], test_scores: Sequence[pd.DataFrame], prompts: int = 24) -> Markup:
    """Return a table with one row per prompt and one column per round.

    The prompts are spread evenly over the test set in the order of their ids, so nobody picked them. The first sample
    of each is shown. Where the scores have a column `correct`, each image carries the judge's verdict. The base is the
    first of the rounds.

    Raises:
        ValueError: images and scores differ in number, or rounds differ in their prompts.
    """
    if len(test_images) != len(test_scores) or not test_images:
        raise ValueError(f"{len(test_images)} image sets and {len(test_scores)} score tables; give one each per round")
    samples = [_first_samples(images.metadata) for images in test_images]
    chosen = _spread(samples[0], prompts)
    for number, found in enumerate(samples):
        missing = set(chosen) - set(found)
        if missing:
            raise ValueError(f"round {number} has no image of the prompt {min(missing)}, which round 0 has")
    names = ["base", *(f"round {number}" for number in range(1, len(test_images)))]
    verdicts = [_verdicts(scores) for scores in test_scores]
    rows = []
    for prompt_id in chosen:
        first = test_images[0].metadata.iloc[samples[0][prompt_id]]
        cells = [
            _cell(images, found[prompt_id], judged) | {"label": f"{name}: {first['text']}"}
            for name, images, found, judged in zip(names, test_images, samples, verdicts)
        ]
        rows.append({"text": str(first["text"]), "seed": int(first["seed"]), "cells": cells})
    return render("gallery", rounds=names, rows=rows)


def spread_rows(metadata: pd.DataFrame, prompts: int) -> list[int]:
    """Return positions of the first sample of `prompts` prompts (all, if fewer), spread evenly over their ids."""
    rows = _first_samples(metadata)
    return [rows[prompt_id] for prompt_id in _spread(rows, prompts)]


def _first_samples(metadata: pd.DataFrame) -> dict[str, int]:
    """Return by prompt_id the position of its image with the lowest sample_index."""
    ordered = metadata.reset_index(drop=True).sort_values("sample_index", kind="stable")
    first = ordered["prompt_id"].astype(str).drop_duplicates()
    return {prompt_id: int(row) for row, prompt_id in first.items()}


def _spread(ids: Iterable[str], count: int) -> list[str]:
    """Return `count` of the sorted ids at equal distances, or all if there are fewer."""
    ordered = sorted(ids)
    positions = np.linspace(0, len(ordered) - 1, min(count, len(ordered)))
    return [ordered[int(position)] for position in positions]


def _verdicts(scores: pd.DataFrame) -> dict[str, bool]:
    """Return by image_id whether the judge found everything right; empty without a judge."""
    judged = scores.reindex(columns=["image_id", "correct"]).dropna()
    return dict(zip(judged["image_id"].astype(str), judged["correct"].astype(bool)))


def _cell(images: ImageSet, row: int, verdicts: Mapping[str, bool]) -> dict[str, Any]:
    """Return a verdict and an image as a data address: a tiny one as PNG, pixel by pixel; a large one as JPEG."""
    image, correct = images.images[row], verdicts.get(str(images.metadata["image_id"].iloc[row]))
    buffer = io.BytesIO()
    tiny = image.width <= TINY
    if tiny:
        image.save(buffer, format="PNG", optimize=True)
    else:
        resized(image, min(1.0, SHOWN_WIDTH / image.width)).convert("RGB").save(buffer, format="JPEG", quality=85)
    width = TINY // image.width * image.width if tiny else min(SHOWN_WIDTH, image.width)
    source = f"data:image/{'png' if tiny else 'jpeg'};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"correct": correct, "tiny": tiny, "width": width, "source": source}
