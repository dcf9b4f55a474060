"""Collect the images of the same prompts and seeds in every round, for the report's gallery."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rsidiff_kedro.core.image_set import PAIR, ImageSet
from rsidiff_kedro.method.selection import combined_score
from rsidiff_kedro.method.settings import SelectionSettings
from rsidiff_kedro.reporting.labels import reward_label, role
from rsidiff_kedro.reporting.thumbnails import Thumbnails

MOST_IMAGES = 10_000
"""Images in a gallery; of more, it shows those of prompts spread evenly over the test set."""


def gallery(
    test_images: Sequence[ImageSet],
    test_scores: Sequence[pd.DataFrame],
    test_prompts: pd.DataFrame,
    rewards: Sequence[str],
    selection: SelectionSettings,
    selecting: Collection[str],
    tested: Sequence[int] | None = None,
    most_images: int = MOST_IMAGES,
) -> dict[str, Any]:
    """Return rows of one prompt and seed, each with a cell per round: image, rewards, rank, and the judge's verdict.

    The rank is among the prompt's samples of that round, by the score that selects. `measure` says by what a change
    from the base is told: the judge's verdict or, without one, a reward, preferably one that is held out, not one of
    those `selecting`. Prompts are in the order of their ids, so nobody picked them. Images and scores are those of the
    rounds `tested`, the base first; None for 0, 1, ….

    Raises:
        ValueError: images and scores differ in number, or rounds differ in their prompts and samples.
    """
    if len(test_images) != len(test_scores) or not test_images:
        raise ValueError(f"{len(test_images)} image sets and {len(test_scores)} score tables; give one each per round")
    metadata = [images.metadata.reset_index(drop=True) for images in test_images]
    places = [dict(zip(_pairs(table), range(len(table)))) for table in metadata]
    per_prompt = len(test_images) * int(metadata[0].groupby("prompt_id").size().max())
    chosen = set(spread(metadata[0]["prompt_id"].unique(), max(1, most_images // per_prompt)))
    pairs = sorted(pair for pair in places[0] if pair[0] in chosen)
    numbers = range(len(places)) if tested is None else tested
    for number, found in zip(numbers, places, strict=True):
        missing = set(pairs) - set(found)
        if missing:
            raise ValueError(f"round {number} has no image of the prompt {min(missing)[0]}, which round 0 has")
    thumbnails = Thumbnails.of(test_images[0].images, len(pairs) * len(test_images))
    columns = [
        _cells(images, scores, found, pairs, rewards, selection, thumbnails)
        for images, scores, found in zip(test_images, test_scores, places)
    ]
    first = metadata[0].iloc[[places[0][pair] for pair in pairs]]
    categories = dict(zip(test_prompts["prompt_id"].astype(str), test_prompts["category"].astype(str)))
    rows = [
        {"prompt": prompt, "text": text, "category": categories.get(prompt, ""), "sample": sample, "seed": str(seed)}
        for (prompt, sample), text, seed in zip(pairs, first["text"], first["seed"])
    ]
    return {
        "rounds": [f"round {number}" if number else "base" for number in numbers],
        "rewards": [reward_label(name, selecting) for name in rewards],
        "measure": _measure(test_scores, rewards, selecting),
        **thumbnails.size(),
        "rows": [row | {"cells": list(cells)} for row, cells in zip(rows, zip(*columns))],
    }


def _cells(
    images: ImageSet,
    scores: pd.DataFrame,
    places: Mapping[tuple[str, int], int],
    pairs: Sequence[tuple[str, int]],
    rewards: Sequence[str],
    selection: SelectionSettings,
    thumbnails: Thumbnails,
) -> list[dict[str, Any]]:
    """Return one round's cell for each pair of prompt and sample."""
    table = scores.reset_index(drop=True)
    table["rank"] = combined_score(table, selection).groupby(table["prompt_id"]).rank(method="min", ascending=False)
    if "correct" not in table:
        table["correct"] = None
    by_pair = table.set_index(pd.MultiIndex.from_tuples(_pairs(table))).loc[list(pairs)]
    return [
        {
            "src": thumbnails.source(images.images[places[pair]]),
            "right": None if pd.isna(right) else bool(right),
            "rewards": [short(value) for value in values],
            "rank": int(rank),
        }
        for pair, right, values, rank in zip(
            pairs, by_pair["correct"], by_pair[list(rewards)].to_numpy(float), by_pair["rank"]
        )
    ]


def _pairs(table: pd.DataFrame) -> list[tuple[str, int]]:
    return list(zip(table[PAIR[0]].astype(str), table[PAIR[1]].astype(int)))


def _measure(
    test_scores: Sequence[pd.DataFrame], rewards: Sequence[str], selecting: Collection[str]
) -> dict[str, Any] | None:
    """Return by what a change from the base is told: "the judge", or a reward and its place; None for nothing."""
    if "correct" in test_scores[0]:
        return {"name": "the judge", "reward": None}
    ordered = sorted(rewards, key=lambda name: role(name, selecting) == "selects")
    if not ordered:
        return None
    return {"name": reward_label(ordered[0], selecting), "reward": list(rewards).index(ordered[0])}


def short(value: float) -> float | None:
    """Return a number with five significant digits; None for NaN, which JSON lacks."""
    return float(f"{value:.5g}") if np.isfinite(value) else None


def spread_rows(metadata: pd.DataFrame, prompts: int) -> list[int]:
    """Return positions of the first sample of `prompts` prompts (all, if fewer), spread evenly over their ids."""
    ordered = metadata.reset_index(drop=True).sort_values("sample_index", kind="stable")
    first = ordered["prompt_id"].astype(str).drop_duplicates()
    rows = {prompt_id: int(row) for row, prompt_id in first.items()}
    return [rows[prompt_id] for prompt_id in spread(rows, prompts)]


def spread(ids: Iterable[str], count: int) -> list[str]:
    """Return `count` of the sorted ids at equal distances, or all if there are fewer."""
    ordered = sorted(ids)
    positions = np.linspace(0, len(ordered) - 1, min(count, len(ordered)))
    return [ordered[int(position)] for position in positions]
