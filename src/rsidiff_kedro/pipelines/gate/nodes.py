"""Node functions of the gate."""

import pandas as pd

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.method.gate import OPEN_GATE, accepts, compare_with_parent, scored_alike
from rsidiff_kedro.method.settings import GateSettings


def pass_gate(
    candidate: Adapter,
    parent: Adapter,
    candidate_scores: pd.DataFrame,
    parent_scores: pd.DataFrame,
    rewards: dict[str, float],
    settings: GateSettings,
    bootstrap_resamples: int,
    seed: int,
) -> tuple[Adapter, pd.DataFrame, dict[str, float]]:
    """Use the candidate if it does not lose to its parent on validation prompts, else keep the parent."""
    if settings.enabled or scored_alike(candidate_scores, parent_scores, rewards):
        comparison = compare_with_parent(candidate_scores, parent_scores, rewards, bootstrap_resamples, seed)
    else:
        comparison = OPEN_GATE  # the rewards have changed since the parent was scored
    accepted = accepts(comparison, settings)
    adapter, scores = (candidate, candidate_scores) if accepted else (parent, parent_scores)
    return adapter, scores, {**comparison, "enabled": float(settings.enabled), "accepted": float(accepted)}
