"""Score a table of images, one column per reward, and record what each score depends on."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from rsidiff_kedro.execution.local import Shard, run_shards, split
from rsidiff_kedro.execution.partial_results import PartialResults
from rsidiff_kedro.rewards.protocol import Reward, ScoreError, as_scores
from rsidiff_kedro.rewards.registry import RewardsSettings, load_reward

SHARD_SIZE = 128
"""Images whose scores are saved together, rounded up to whole micro-batches."""


def with_scores(
    table: pd.DataFrame,
    images: Sequence[Image.Image],
    names: Iterable[str],
    settings: RewardsSettings,
    unfinished: Path | None = None,
) -> pd.DataFrame:
    """Return the table with one float32 column per reward.

    `attrs["rewards"]` records for each reward what its scores depend on: the checkpoint's source, file, size and
    SHA-256, the tokenizer, dtype, device and micro-batch size; nothing for the rewards of the scenes. Parquet keeps it.

    Args:
        table: one row per image, with image_id, prompt_id and text.
        names: of rewards, which are opened one after the other if there are images.
        unfinished: a folder of finished shards, which a later call reuses.

    Raises:
        ScoreError: a score is NaN or infinite, or there is not one score per image.
    """
    scored, records = table.copy(), {}
    for name in dict.fromkeys(names):
        if not len(images):
            scored[name] = np.empty(0, np.float32)
            continue
        reward = load_reward(name, **settings.options(name))
        size = settings.micro_batch_size * -(-SHARD_SIZE // settings.micro_batch_size)
        scored[name] = _score(reward, name, table, images, size, PartialResults(unfinished))
        records[name] = getattr(reward, "record", {})
        wrong = scored.loc[~np.isfinite(scored[name]), "image_id"]
        if len(wrong):
            raise ScoreError(
                f"the reward {name!r} is NaN or infinite for {len(wrong)} of {len(scored)} images, first "
                f"{wrong.iloc[0]}; look at this image and at the checkpoint, and use rewards.dtype=float32"
            )
    scored.attrs["rewards"] = records
    return scored


def _score(
    reward: Reward, name: str, table: pd.DataFrame, images: Sequence[Image.Image], size: int, kept: PartialResults
) -> np.ndarray:
    """Score all images in shards, which are the same whether results are kept or not."""
    texts = table["text"].tolist()

    def score(shard: Shard) -> torch.Tensor:
        rows = slice(shard.start, shard.stop)
        found = kept.load(shard.key, shard.stop - shard.start)
        if found is None:
            found = torch.from_numpy(as_scores(reward.score(images[rows], texts[rows]), len(texts[rows]), name))
            kept.save(shard.key, found)
        return found

    keys = [f"{name}_{row}" for row in range(len(images))]
    whole_prompts = getattr(reward, "by_prompt", False)
    shards = _by_prompt(keys, table["prompt_id"].tolist(), size) if whole_prompts else split(keys, size)
    return torch.cat(run_shards(list(shards), score, f"scoring: {name}", delay=2)).numpy()


def _by_prompt(keys: Sequence[str], prompts: Sequence[Any], size: int) -> Iterator[Shard]:
    """Cut after at least `size` rows, but not between the consecutive samples of one prompt."""
    cuts = [0]
    for end in range(1, len(prompts) + 1):
        if end == len(prompts) or (prompts[end] != prompts[end - 1] and end - cuts[-1] >= size):
            cuts.append(end)
    for start, stop in pairwise(cuts):
        yield Shard(keys[start], start, stop)
