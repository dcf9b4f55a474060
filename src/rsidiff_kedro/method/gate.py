"""The gate: use a candidate adapter only if its images of the validation prompts are no worse than its parent's.

Candidate and parent generate from the same prompts and seeds, so their rewards are compared in pairs. The candidate
passes if it loses no more than the tolerance on average.
"""

from collections.abc import Iterable

import pandas as pd

from rsidiff_kedro.core.pairs import paired
from rsidiff_kedro.evaluation.intervals import paired_difference
from rsidiff_kedro.evaluation.reward_gap import scale_of
from rsidiff_kedro.method.settings import GateSettings
from rsidiff_kedro.rewards.protocol import record_changes

OPEN_GATE = {
    "enabled": 0.0,
    "accepted": 1.0,
    "reward_difference": 0.0,
    "reward_difference_low": 0.0,
    "reward_difference_high": 0.0,
}
"""The figures of a round without a gate."""


def compare_with_parent(
    candidate: pd.DataFrame, parent: pd.DataFrame, rewards: dict[str, float], n_resamples: int, seed: int
) -> dict[str, float]:
    """Return the mean selection rewards and their paired difference, candidate minus parent, with its interval.

    Several rewards are first divided by the parent's standard deviation, see `scale_of`, then averaged by weight.

    Args:
        candidate: scores of the validation images, with prompt_id, sample_index and the rewards.
        parent: the parent's scores for the same prompts and seeds.
        rewards: the weight of each reward that selects.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        UnpairedError: the two are not of the same prompts and samples.
    """
    ours, theirs = paired(candidate, parent)
    factors = dict.fromkeys(rewards, 1.0)
    if len(rewards) > 1:
        total = sum(rewards.values())
        factors = {name: weight / total / scale_of(theirs[name], ours[name]) for name, weight in rewards.items()}
    new, old = (sum(part[name].astype(float) * factor for name, factor in factors.items()) for part in (ours, theirs))
    difference = paired_difference(new, old, ours.index.get_level_values("prompt_id").to_numpy(), n_resamples, seed)
    return {
        "candidate_reward": float(new.mean()),
        "parent_reward": float(old.mean()),
        "reward_difference": difference.mean,
        "reward_difference_low": difference.low,
        "reward_difference_high": difference.high,
    }


def scored_alike(candidate: pd.DataFrame, parent: pd.DataFrame, rewards: Iterable[str]) -> bool:
    """Tell whether both tables have scores of all rewards, each by the same function as far as records say."""
    ours, theirs = (scores.attrs.get("rewards", {}) for scores in (candidate, parent))
    return all(
        name in candidate and name in parent and not record_changes(ours.get(name), theirs.get(name))
        for name in rewards
    )


def accepts(comparison: dict[str, float], settings: GateSettings) -> bool:
    """Decide whether the candidate is used; a candidate that changed nothing passes."""
    return not settings.enabled or comparison["reward_difference"] >= -settings.tolerance
