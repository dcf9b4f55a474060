"""Show what a round trains on: samples of some prompts with score, rank and weight, and the extremes of the weights."""

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.reporting.gallery import short, spread
from rsidiff_kedro.reporting.labels import reward_label
from rsidiff_kedro.reporting.thumbnails import Thumbnails

PROMPTS = 24
"""Prompts of a round whose samples are shown."""
EXTREMES = 8
"""Samples of the lowest weights, and as many of the highest."""


def training_samples(
    images: ImageSet,
    selection: pd.DataFrame,
    weights: pd.DataFrame,
    rewards: Sequence[str],
    selecting: Collection[str],
) -> dict[str, Any]:
    """Return a round's samples with thumbnails, so that a report needs no training images, which may be pruned.

    Args:
        images: all images of the round.
        selection: their `rank`, `kept` and `reason`, see `select_samples`.
        weights: `distance` and `weight` of those that are kept.
        rewards: that scored them.
        selecting: the rewards that select.

    Returns:
        `prompts`, spread evenly over their ids, each with its `samples` in the order of their ranks; `lowest` and
        `highest`, the samples of these weights; `rewards`, the names of each sample's rewards.
    """
    table = images.metadata[["image_id", "prompt_id", "text", "sample_index", "seed"]].reset_index(drop=True)
    judged = selection[["image_id", "rank", "kept", "reason", *rewards]]
    table = table.merge(judged, on="image_id", how="left").merge(weights, on="image_id", how="left")
    thumbnails = Thumbnails.of(images.images, PROMPTS)

    def sample(row: int) -> dict[str, Any]:
        found = table.loc[row]
        return {
            "src": thumbnails.source(images.images[row]),
            "text": str(found["text"]),
            "sample": int(found["sample_index"]),
            "seed": str(found["seed"]),
            "rewards": [short(float(found[name])) for name in rewards],
            "rank": int(found["rank"]),
            "reason": "" if found["kept"] else str(found["reason"]),
            "weight": short(float(found["weight"])),
            "distance": short(float(found["distance"])),
        }

    chosen = spread(table["prompt_id"].unique(), PROMPTS)
    by_prompt = {prompt: list(part.index) for prompt, part in table.sort_values("rank").groupby("prompt_id")}
    ordered = table[table["weight"].notna()].sort_values(["weight", "distance"], ascending=[True, False]).index
    extremes = min(EXTREMES, len(ordered) // 2)
    return {
        "rewards": [reward_label(name, selecting) for name in rewards],
        **thumbnails.size(),
        "prompts": [list(map(sample, by_prompt[prompt])) for prompt in chosen],
        "lowest": list(map(sample, ordered[:extremes])),
        "highest": list(map(sample, ordered[len(ordered) - extremes :][::-1])),
    }
