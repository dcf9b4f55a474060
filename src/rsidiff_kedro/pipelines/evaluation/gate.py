"""The gate: whether a candidate draws validation prompts no worse than its parent."""

import pandas as pd

from rsidiff_kedro.parameters import GateSettings
from rsidiff_kedro.statistics.bootstrap import paired_difference

PAIR = ["prompt_id", "sample_index"]
"""What makes two images a pair: drawn for the same prompt from the same seed."""


def compare(
    candidate: pd.DataFrame, parent: pd.DataFrame, rewards: dict[str, float], n_resamples: int, seed: int
) -> dict[str, float]:
    """The mean difference of the selection reward, candidate minus parent, over paired images, with its interval.

    Several rewards are put on one scale first: each in standard deviations of the parent's, then their weighted mean.
    """
    ours, theirs = (scores.set_index(PAIR).sort_index() for scores in (candidate, parent))
    if len(rewards) == 1:
        name = next(iter(rewards))
        new, old = ours[name].astype(float), theirs[name].astype(float)
    else:
        total = sum(rewards.values())
        scale = {name: weight / total / max(float(theirs[name].std()), 1e-9) for name, weight in rewards.items()}
        new, old = (sum(part[name].astype(float) * factor for name, factor in scale.items()) for part in (ours, theirs))
    difference = paired_difference(new, old, ours.index.get_level_values("prompt_id").to_numpy(), n_resamples, seed)
    return {
        "candidate_reward": float(new.mean()),
        "parent_reward": float(old.mean()),
        "reward_difference": difference.mean,
        "reward_difference_low": difference.low,
        "reward_difference_high": difference.high,
    }


def decide(comparison: dict[str, float], settings: GateSettings) -> bool:
    """Whether the candidate goes on; no difference passes, so that a candidate that changed nothing does."""
    return not settings.enabled or comparison["reward_difference"] >= -settings.tolerance
