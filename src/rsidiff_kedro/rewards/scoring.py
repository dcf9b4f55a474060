"""Scores of a table of images, a column a reward, with the record of how each was made."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from rsidiff_kedro.errors import InputError
from rsidiff_kedro.rewards import Reward, load_reward
from rsidiff_kedro.rewards.settings import RewardsSettings

RECORD = "rewards"
"""The key of `DataFrame.attrs` with each reward's record; Parquet keeps it."""


SCORED_AT_ONCE = 128
"""Images after which scores are kept, rounded up to whole micro-batches."""


class ScoreError(InputError):
    """A preference model gave scores that are no numbers."""


def with_scores(
    table: pd.DataFrame,
    images: Sequence[Image.Image],
    names: Iterable[str],
    settings: RewardsSettings,
    unfinished: Path | None = None,
) -> pd.DataFrame:
    """The table with a float32 column a reward.

    `attrs["rewards"]` has for each reward what it was made with: the checkpoint's source, file, size and SHA-256, the
    tokenizer, dtype, device, micro-batch size and what else changes a score; nothing for the embedded ones.

    Args:
        table: a row an image, with image_id and text.
        images: in the table's order.
        names: of rewards; each is opened once, one after the other, and none if there are no images.
        settings: where they lie.
        unfinished: a folder in which scores are kept, some at a time, and not computed again if they lie there already.

    Raises:
        ScoreError: a score is NaN or infinite.
        CheckpointError: a checkpoint or tokenizer cannot be used.
    """
    scored, records = table.copy(), {}
    for name in dict.fromkeys(names):
        if not len(images):
            scored[name] = np.empty(0, np.float32)
            continue
        reward = load_reward(name, **settings.options(name))
        size = settings.micro_batch_size
        scored[name] = _score(reward, name, table, images, size * -(-SCORED_AT_ONCE // size), unfinished)
        records[name] = getattr(reward, "record", {})
        wrong = scored.loc[~np.isfinite(scored[name]), "image_id"]
        if len(wrong):
            raise ScoreError(
                f"the reward {name!r} is NaN or infinite for {len(wrong)} of {len(scored)} images, first "
                f"{wrong.iloc[0]}; look at this image and at the checkpoint, and use rewards.dtype=float32"
            )
    scored.attrs[RECORD] = records
    return scored


def _score(
    reward: Reward,
    name: str,
    table: pd.DataFrame,
    images: Sequence[Image.Image],
    at_once: int,
    unfinished: Path | None,
) -> np.ndarray:
    """Scores of all images, `at_once` at a time, whether they are kept in a folder or not: batches are the same."""
    texts, parts = table["text"].tolist(), []
    with tqdm(total=len(images), desc=f"scoring: {name}", unit="image", delay=2) as progress:
        for start in range(0, len(images), at_once):
            here = slice(start, start + at_once)
            kept = None if unfinished is None else unfinished / f"{name}_{start}.safetensors"
            scores = _read(kept, len(texts[here]))
            if scores is None:
                scores = np.asarray(reward.score(images[here], texts[here]), np.float32)
                _keep(kept, scores)
            parts.append(scores)
            progress.update(len(scores))
    return np.concatenate(parts)


def _read(path: Path | None, count: int) -> np.ndarray | None:
    """Scores that were kept, float32 [count]; None if there are none that can be read."""
    if path is None:
        return None
    try:
        scores = load_file(path)["scores"]
    except (OSError, SafetensorError, KeyError):  # not there yet; or damaged, as by a power cut
        return None
    return scores if scores.shape == (count,) and scores.dtype == np.float32 and np.isfinite(scores).all() else None


def _keep(path: Path | None, scores: np.ndarray) -> None:
    if path is None:
        return
    partial = path.with_suffix(".partial")
    save_file({"scores": scores}, partial)
    os.replace(partial, path)
