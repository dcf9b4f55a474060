"""Count what each step of the method keeps, and why it drops the rest."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from rsidiff_kedro.core.training_set import effective_sample_size

EXPLANATIONS = {
    "near_duplicate_of_evaluation": "near duplicate of a validation or test prompt",
    "not_diverse": "other prompts cover its content",
    "not_drawn": "not in the random subset",
    "hopeless": "lowest rewards of the probe",
    "solved": "highest rewards of the probe",
    "gap": "too far below its prompt's best (max_gap)",
    "rank": "enough better samples (keep_per_prompt)",
    "margin": "too near its prompt's mean (min_margin)",
    "floor": "below a reward's floor",
    "not drawn": "not in the random subset",
    "early": "worse half of its prompt, dropped before it was denoised to the end (early_dropping)",
}
"""Rules and reasons whose names do not say enough."""


def funnel(
    collected: pd.DataFrame,
    by_filter: pd.DataFrame,
    candidates: pd.DataFrame,
    probed: int,
    by_probe: pd.DataFrame,
    pool: pd.DataFrame,
    selections: Sequence[pd.DataFrame],
    weights: Sequence[pd.DataFrame],
) -> dict[str, Any]:
    """Return the steps of `prompts` and of `samples`: a name, what remains, and what was dropped for which reason.

    Args:
        collected: all prompts.
        by_filter: those that a filter dropped, with its `rule`.
        candidates: those that training may use.
        probed: how many of them the probe generated images of.
        by_probe: those that the choice of the pool dropped.
        pool: the rest.
        selections: each round's table from `select_samples`.
        weights: each round's weights.
    """
    passed = len(collected) - len(by_filter)
    left_after_probe = len(pool) + int(by_probe["rule"].isin(["not_diverse", "not_drawn"]).sum())
    hard = by_probe[~by_probe["rule"].isin(["not_diverse", "not_drawn"])]
    rest = by_probe[by_probe["rule"].isin(["not_diverse", "not_drawn"])]
    prompts = [
        {"name": "collected", "left": len(collected), "dropped": []},
        {"name": "after the filters", "left": passed, "dropped": _counts(by_filter["rule"])},
        {
            "name": "to train on",
            "left": len(candidates),
            "dropped": [{"reason": "set aside for validation and test, or in excess of them", "count": n}]
            if (n := passed - len(candidates))
            else [],
        },
    ]
    if probed:
        prompts.append(
            {"name": f"after the probe of {probed}", "left": left_after_probe, "dropped": _counts(hard["rule"])}
        )
    prompts.append({"name": "in the pool", "left": len(pool), "dropped": _counts(rest["rule"])})
    rounds = [_samples(*tables) for tables in zip(selections, weights)]
    return {"prompts": prompts, "samples": [{"round": number + 1, **each} for number, each in enumerate(rounds)]}


def _samples(selection: pd.DataFrame, weights: pd.DataFrame) -> dict[str, Any]:
    return {
        "generated": len(selection),
        "kept": int(selection["kept"].sum()),
        "dropped": _counts(selection.loc[~selection["kept"], "reason"]),
        "effective": round(effective_sample_size(weights["weight"].to_numpy()) * len(weights)),
        "lowest": float(weights["weight"].min()),
        "highest": float(weights["weight"].max()),
    }


def _counts(reasons: pd.Series) -> list[dict[str, Any]]:
    """Count each reason, the most frequent first."""
    return [
        {"reason": EXPLANATIONS.get(str(reason), str(reason).replace("_", " ")), "count": int(count)}
        for reason, count in reasons.value_counts().items()
    ]
