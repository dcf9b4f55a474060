"""Preference selection: keep the samples of each prompt that score about as well as its best sample.

1. Score. A single reward is the score. Several are put on one scale within the prompt, then averaged by weight.
2. Limits. Drop samples that early dropping has not denoised to the end, that are below a reward's floor (`floors`),
   less than `min_margin` above their prompt's mean score, or more than `max_gap` below its best score.
3. Number. Keep the best `keep_per_prompt` of the rest.

A preference model also ranks correct samples, by tastes such as a background or a size. Keeping only the best sample
amplifies these tastes from round to round, and diversity falls. `max_gap` follows the model only where scores differ
clearly.
"""

import logging
from functools import partial

import numpy as np
import pandas as pd

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.random_order import random_order
from rsidiff_kedro.evaluation.reward_gap import FLOAT32_ROUNDING
from rsidiff_kedro.method.settings import SelectionSettings

logger = logging.getLogger(__name__)

_TIES = 6
"""Samples that differ from no other of their prompt, of rewards that can rank some; fewer may be chance."""


_CURE = "check its checkpoint, or select by another reward in `preference_selection.rewards`"


class SelectionError(InputError):
    """The scores leave nothing sound to select; the message says what to change."""


def select_samples(scores: pd.DataFrame, settings: SelectionSettings, seed: int) -> pd.DataFrame:
    """Decide for each sample whether it is kept, and why not.

    Args:
        scores: one row per image, in any order: image_id, prompt_id and one column per reward; `dropped`, if there is
            such a column, marks samples that were not denoised to the end: their rewards are not read, and they have no
            score, rank last and are never kept.
        settings: see `SelectionSettings`.
        seed: of the random choice when selection is off.

    Returns:
        The rows of `scores` in their order, with `score`, `rank` (1 is the best of the prompt; ties go by image_id),
        `margin` (score minus the prompt's mean score), `kept` and `reason`: "" if kept; "early" if it was dropped
        early; "floor", "margin" or "gap" for the first limit that the sample fails; "rank" if enough better ones pass;
        "not drawn" if selection is off.

    Raises:
        SelectionError: a column is missing, an image appears twice, a reward is not finite or cannot rank the images
            that were not dropped (unless selection is off), or nothing is kept.
    """
    _check(scores, settings)
    table = scores.reset_index(drop=True).sort_values(["prompt_id", "image_id"])
    early = table["dropped"] if "dropped" in table else pd.Series(False, index=table.index)
    table["score"] = combined_score(table[~early], settings)
    table["margin"] = table["score"] - table.groupby("prompt_id")["score"].transform("mean")
    table = table.sort_values(["prompt_id", "score", "image_id"], ascending=[True, False, True])
    table["rank"] = table.groupby("prompt_id").cumcount() + 1
    choose = _apply_limits if settings.enabled else partial(_choose_at_random, seed=seed)
    table["reason"] = choose(table[table["score"].notna()], settings).reindex(table.index, fill_value="early")
    table["kept"] = table["reason"] == ""
    if not table["kept"].any():
        raise SelectionError(_why_nothing_is_kept(table["reason"].value_counts().to_dict(), settings))
    added = ["score", "rank", "margin", "kept", "reason"]
    return table.sort_index().set_index(scores.index)[[*scores.columns.difference(added, sort=False), *added]]


def _check(scores: pd.DataFrame, settings: SelectionSettings) -> None:
    used = list(dict.fromkeys([*settings.rewards, *settings.floors]))
    missing = {"image_id", "prompt_id", *used} - set(scores.columns)
    if missing:
        raise SelectionError(f"the scores lack the columns {sorted(missing)}; they have {sorted(scores.columns)}")
    repeated = scores.loc[scores["image_id"].duplicated(), "image_id"]
    if len(repeated):
        raise SelectionError(f"image {repeated.iloc[0]} appears twice in the scores")
    finished = scores[~scores["dropped"]] if "dropped" in scores else scores
    for name in used if settings.enabled else []:
        bad = finished.loc[~np.isfinite(finished[name].astype(float)), "image_id"]
        if len(bad):
            raise SelectionError(
                f"the reward {name!r} is NaN or infinite for {len(bad)} of {len(finished)} images, first "
                f"{bad.iloc[0]}; look at these images, or select by another reward in `preference_selection.rewards`"
            )
        if name in settings.rewards and len(finished) > 1 and finished[name].nunique() == 1:
            raise SelectionError(
                f"the reward {name!r} is {float(finished[name].iloc[0])} for all {len(finished)} images and cannot "
                f"rank them; {_CURE}"
            )
    if settings.enabled:
        _check_ranks(finished, settings)


def _check_ranks(scores: pd.DataFrame, settings: SelectionSettings) -> None:
    """Refuse rewards that are the same for all images of each prompt, or warn if others rank them.

    One that has a floor may choose between prompts alone.
    """
    prompts = scores["prompt_id"]
    blind = [name for name in settings.rewards if _is_blind(scores[name].astype(float), prompts)]
    for name in blind:
        if name in settings.floors:
            continue
        said = (
            f"the reward {name!r} is the same for all images of each of {prompts.nunique()} prompts ({len(scores)} "
            "images), as if it saw none, and cannot rank them"
        )
        if len(blind) == len(settings.rewards):
            raise SelectionError(f"{said}; {_CURE}")
        logger.warning("%s: the other rewards select alone; give it a floor if it is to choose between prompts", said)


def _is_blind(reward: pd.Series, prompts: pd.Series) -> bool:
    """Tell whether images of a prompt never differ in a reward, and there are enough of them."""
    groups = reward.groupby(prompts)
    differ = groups.max() - groups.min() > FLOAT32_ROUNDING * reward.abs().groupby(prompts).max()
    return len(reward) - len(differ) >= _TIES and not differ.any()


def combined_score(table: pd.DataFrame, settings: SelectionSettings) -> pd.Series:
    """Return one score per sample from the rewards that select, see `SelectionSettings.combine`."""
    rewards = table[list(settings.rewards)].astype(float)
    if len(settings.rewards) == 1:
        return rewards.iloc[:, 0]
    groups = rewards.groupby(table["prompt_id"])
    if settings.combine == "rank":
        others = groups.transform("count") - 1
        comparable = ((groups.rank() - 1) / others).where(others > 0, 0.5)
    else:
        offsets, spread = rewards - groups.transform("mean"), groups.transform("std", ddof=0)
        largest = rewards.abs().groupby(table["prompt_id"]).transform("max")
        comparable = (offsets / spread).where(spread > FLOAT32_ROUNDING * largest, 0.0)
    weights = pd.Series(settings.rewards)
    return comparable.mul(weights).sum(axis=1) / weights.sum()


def rounding(table: pd.DataFrame, settings: SelectionSettings) -> pd.Series:
    """Return how far each sample's score may be from its true value, because rewards are rounded to float32.

    A margin or gap may miss its limit by this much. It is a share of the prompt's largest reward, in the unit of the
    score: of several rewards the weighted mean, each in its standard deviations within the prompt.
    """
    rewards = table[list(settings.rewards)].astype(float)
    several = len(settings.rewards) > 1
    if several and settings.combine == "rank":
        return pd.Series(FLOAT32_ROUNDING, table.index)  # ranks are exact; weights and means of them are rounded
    moved = FLOAT32_ROUNDING * rewards.abs().groupby(table["prompt_id"]).transform("max")
    if not several:
        return moved.iloc[:, 0]
    spread = rewards.groupby(table["prompt_id"]).transform("std", ddof=0)
    weights = pd.Series(settings.rewards)
    return (moved / spread).where(spread > moved, 0.0).mul(weights).sum(axis=1) / weights.sum()


def _apply_limits(table: pd.DataFrame, settings: SelectionSettings) -> pd.Series:
    """Return each sample's reason; within a prompt the table is in order of rank."""
    reason, most = pd.Series("", index=table.index), rounding(table, settings)
    if settings.max_gap is not None:
        gap = table.groupby("prompt_id")["score"].transform("max") - table["score"]
        beyond = gap > settings.max_gap + most
        reason[beyond] = "gap"
        if settings.keep_per_prompt > 1:
            _warn_if_idle(gap, beyond, table["prompt_id"], settings.max_gap)
    if settings.min_margin is not None:
        reason[table["margin"] < settings.min_margin - most] = "margin"
    for name, floor in settings.floors.items():
        reason[table[name] < floor] = "floor"
    passed = table[reason == ""]
    reason[passed.index[passed.groupby("prompt_id").cumcount() >= settings.keep_per_prompt]] = "rank"
    return reason


def _warn_if_idle(gap: pd.Series, beyond: pd.Series, prompts: pd.Series, max_gap: float) -> None:
    """Warn if `max_gap` drops under 1 % of many samples; most likely it is not in the unit of the score."""
    compared, dropped = gap.groupby(prompts).transform("size") > 1, int(beyond.sum())
    if compared.sum() < 100 or dropped >= 0.01 * compared.sum():
        return
    logger.warning(
        "`preference_selection.max_gap` (%s) drops only %d of %d samples. It is in the unit of the score, in which the "
        "best and the worst sample of a prompt are %.3g apart (median). Lower it, or set it to null and lower "
        "`keep_per_prompt`",
        max_gap,
        dropped,
        compared.sum(),
        gap[compared].groupby(prompts).max().median(),
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
        "or generate more samples per prompt"
    )


def _choose_at_random(table: pd.DataFrame, settings: SelectionSettings, seed: int) -> pd.Series:
    shuffled = table.iloc[random_order(table["image_id"], seed, "selection")]
    chosen = shuffled.groupby("prompt_id").cumcount() < settings.keep_per_prompt
    return chosen.map({True: "", False: "not drawn"}).reindex(table.index)
