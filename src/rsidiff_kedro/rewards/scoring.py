"""Scores of a table of images, a column a reward, with the record of how each was made."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from PIL import Image

from rsidiff_kedro.errors import InputError
from rsidiff_kedro.rewards import load_reward
from rsidiff_kedro.rewards.settings import RewardsSettings

RECORD = "rewards"
"""The key of `DataFrame.attrs` with each reward's record; Parquet keeps it."""


class ScoreError(InputError):
    """A preference model gave scores that are no numbers."""


def with_scores(
    table: pd.DataFrame, images: Sequence[Image.Image], names: Iterable[str], settings: RewardsSettings
) -> pd.DataFrame:
    """The table with a float32 column a reward.

    `attrs["rewards"]` has for each reward what it was made with: the checkpoint's source, file, size and SHA-256, the
    tokenizer, dtype, device, micro-batch size and what else changes a score; nothing for the embedded ones.

    Args:
        table: a row an image, with image_id and text.
        images: in the table's order.
        names: of rewards; each is opened once, one after the other, and none if there are no images.
        settings: where they lie.

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
        scored[name] = reward.score(images, table["text"].tolist())
        records[name] = getattr(reward, "record", {})
        wrong = scored.loc[~np.isfinite(scored[name]), "image_id"]
        if len(wrong):
            raise ScoreError(
                f"the reward {name!r} is NaN or infinite for {len(wrong)} of {len(scored)} images, first "
                f"{wrong.iloc[0]}; look at this image and at the checkpoint, and use rewards.dtype=float32"
            )
    scored.attrs[RECORD] = records
    return scored
