"""Preference selection: keep the samples of each prompt that score about as well as its best.

A preference model orders right samples too, by tastes of its own (a background, a size). Keeping the best alone
amplifies these from round to round, and diversity falls; its verdict counts where scores differ by much (`max_gap`).
"""

import logging
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.random_order import random_order
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.rewards.protocol import RewardName

logger = logging.getLogger(__name__)

IDLE = 0.01
"""A `max_gap` that drops a smaller share of many samples is most likely in another unit than the reward."""
ROUNDING = 1e-9
"""A margin or gap may miss its limit by this: the mean of equal scores is not always their value."""


class SelectionError(InputError):
    """These scores leave nothing sound to select; the message says what to change."""


class SelectionSettings(Section):
    """Which samples of a prompt are kept.

    Attributes:
        enabled: off draws `keep_per_prompt` samples a prompt at random instead.
        rewards: the weight of each reward in the score; 0 leaves a reward of another layer of configuration out.
        combine: how several rewards become one score: the weighted mean of each "standardize"d within the prompt, or
            of each one's "rank" in it (the share of the prompt's other samples that it is above, ties counting half),
            which no outlier moves. One reward is its own score.
        keep_per_prompt: at most this many samples a prompt are kept.
        max_gap: a kept sample's score is at most this below its prompt's best score; in the reward's unit, or if
            there are several in standard deviations within the prompt or shares of the other samples. None: no limit.
        min_margin: a kept sample's score is at least this above its prompt's mean score, in the same unit. None: no
            limit.
        floors: a kept sample's reward is at least this; by reward's name, in the reward's unit.
    """

    enabled: bool = True
    rewards: dict[RewardName, float]
    combine: Literal["standardize", "rank"] = "standardize"
    keep_per_prompt: int = Field(default=4, ge=1)
    max_gap: float | None = Field(default=0.75, ge=0)
    min_margin: float | None = None
    floors: dict[RewardName, float] = Field(default={})

    @field_validator("rewards")
    @classmethod
    def _without_zeros(cls, rewards: dict[str, float]) -> dict[str, float]:
        wrong = {name: weight for name, weight in rewards.items() if weight < 0}
        if wrong:
            raise ValueError(f"the weights of rewards must be 0 or more, not {wrong}")
        weighted = {name: weight for name, weight in rewards.items() if weight > 0}
        if not weighted:
            raise ValueError(f"one reward at least needs a weight above 0, but they are {rewards}; raise one")
        return weighted


def select_samples(scores: pd.DataFrame, settings: SelectionSettings, seed: int) -> pd.DataFrame:
    """Decide for each sample whether it is kept, and why not.

    Args:
        scores: a row an image: image_id, prompt_id and a column a reward; its order does not matter.
        settings: see `SelectionSettings`.
        seed: of the random draw if selection is off; unused otherwise.

    Returns:
        The rows of `scores` in their order, with `score` (the reward, or several combined as
        `settings.combine` says), `rank` (1 is the best of the prompt; ties go by image_id), `margin` (score
        minus the prompt's mean score), `kept` and `reason`: "" if kept, "floor", "margin" or "gap" for the first of
        these that the sample fails, "rank" if it passes all and enough better ones do, "not drawn" if selection is off.

    Raises:
        SelectionError: a column is missing, an image comes twice, a reward is not finite or the same for every
            image (unless selection is off), or nothing is kept.
    """
    _check_columns(scores, settings)
    if settings.enabled:
        _check_rewards(scores, settings)
    table = scores.reset_index(drop=True).sort_values(["prompt_id", "image_id"])
    table["score"] = _score(table, settings)
    table["margin"] = table["score"] - table.groupby("prompt_id")["score"].transform("mean")
    table = table.sort_values(["prompt_id", "score", "image_id"], ascending=[True, False, True])
    table["rank"] = table.groupby("prompt_id").cumcount() + 1
    table["reason"] = _reasons(table, settings) if settings.enabled else _draw(table, settings.keep_per_prompt, seed)
    table["kept"] = table["reason"] == ""
    if settings.enabled and settings.max_gap is not None and settings.keep_per_prompt > 1:
        _warn_of_idle_gap(table, settings.max_gap)
    if not table["kept"].any():
        raise SelectionError(_why_nothing_is_kept(table["reason"].value_counts().to_dict(), settings))
    added = ["score", "rank", "margin", "kept", "reason"]
    return table.sort_index().set_index(scores.index)[[*scores.columns.difference(added, sort=False), *added]]


def _check_columns(scores: pd.DataFrame, settings: SelectionSettings) -> None:
    missing = {"image_id", "prompt_id", *settings.rewards, *settings.floors} - set(scores.columns)
    if missing:
        raise SelectionError(f"the scores lack the columns {sorted(missing)}; they have {sorted(scores.columns)}")
    if scores["image_id"].duplicated().any():
        raise SelectionError(f"image {scores.loc[scores['image_id'].duplicated(), 'image_id'].iloc[0]} comes twice")


def _check_rewards(scores: pd.DataFrame, settings: SelectionSettings) -> None:
    for name in dict.fromkeys([*settings.rewards, *settings.floors]):
        bad = scores.loc[~np.isfinite(scores[name].astype(float)), "image_id"]
        if len(bad):
            raise SelectionError(
                f"the reward {name!r} is NaN or infinite for {len(bad)} of {len(scores)} images, first {bad.iloc[0]}; "
                "look at these images, or select by another reward in `preference_selection.rewards`"
            )
        if name in settings.rewards and scores[name].nunique() == 1 and len(scores) > 1:
            raise SelectionError(
                f"the reward {name!r} is {scores[name].iloc[0]} for all {len(scores)} images and cannot rank them; "
                "check its checkpoint, or select by another reward in `preference_selection.rewards`"
            )


def _score(table: pd.DataFrame, settings: SelectionSettings) -> pd.Series:
    rewards = table[list(settings.rewards)].astype(float)
    if len(settings.rewards) == 1:
        return rewards.iloc[:, 0]
    groups = rewards.groupby(table["prompt_id"])
    if settings.combine == "rank":
        others = groups.transform("count") - 1
        comparable = ((groups.rank() - 1) / others).where(others > 0, 0.5)
    else:
        offsets, spread = rewards - groups.transform("mean"), groups.transform("std", ddof=0)
        comparable = (offsets / spread).where(spread > ROUNDING, 0.0)
    weights = pd.Series(settings.rewards)
    return comparable.mul(weights).sum(axis=1) / weights.sum()


def _reasons(table: pd.DataFrame, settings: SelectionSettings) -> pd.Series:
    """The table is in order of rank within each prompt."""
    reason = pd.Series("", index=table.index)
    if settings.max_gap is not None:
        gap = table.groupby("prompt_id")["score"].transform("max") - table["score"]
        reason[gap > settings.max_gap + ROUNDING] = "gap"
    if settings.min_margin is not None:
        reason[table["margin"] < settings.min_margin - ROUNDING] = "margin"
    for name, floor in settings.floors.items():
        reason[table[name] < floor] = "floor"
    passed = table[reason == ""]
    reason[passed.index[passed.groupby("prompt_id").cumcount() >= settings.keep_per_prompt]] = "rank"
    return reason


def _warn_of_idle_gap(table: pd.DataFrame, max_gap: float) -> None:
    """Say so where many samples are to be compared and the limit drops next to none of them."""
    compared = table[table.groupby("prompt_id")["score"].transform("count") > 1]
    scores = compared.groupby("prompt_id")["score"]
    gaps = scores.transform("max") - compared["score"]
    dropped = int((gaps > max_gap + ROUNDING).sum())
    if len(gaps) < 100 or dropped >= IDLE * len(gaps):
        return
    logger.warning(
        "`preference_selection.max_gap` (%s) drops %d of %d samples, so that selection chooses hardly at all. It is in "
        "the unit of the score, in which the best and the worst sample of a prompt lie %.3g apart (median): lower it, "
        "or set it to null and `keep_per_prompt` to fewer",
        max_gap,
        dropped,
        len(gaps),
        (scores.max() - scores.min()).median(),
    )


def _why_nothing_is_kept(counts: dict[str, int], settings: SelectionSettings) -> str:
    limits = {
        "margin": f"lower `min_margin` ({settings.min_margin})",
        "gap": f"raise `max_gap` ({settings.max_gap})",
        "floor": f"lower `floors` ({settings.floors})",
    }
    advice = " and ".join(limits[reason] for reason in limits if reason in counts)
    return (
        f"none of {sum(counts.values())} samples is kept ({counts}); {advice} in `preference_selection`, "
        "or draw more samples a prompt"
    )


def _draw(table: pd.DataFrame, keep_per_prompt: int, seed: int) -> pd.Series:
    shuffled = table.iloc[random_order(table["image_id"], seed, "selection")]
    drawn = shuffled.groupby("prompt_id").cumcount() < keep_per_prompt
    return drawn.map({True: "", False: "not drawn"}).reindex(table.index)
