"""Say which rewards select training images; all others are held out, so their gains measure what selection brings."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from rsidiff_kedro.method.settings import EarlyDroppingSettings


def selecting_rewards(
    enabled: bool,
    rewards: Mapping[str, float],
    floors: Mapping[str, float],
    early_dropping: EarlyDroppingSettings | None,
) -> dict[str, str]:
    """Return the rewards that select training images, each with how it does.

    Args:
        enabled: of `SelectionSettings`; off leaves rewards and floors without a say.
        rewards: the weight of each reward in the score.
        floors: the least value of each reward that has a floor.
        early_dropping: of `SynthesisSettings`; its reward selects, whether selection is on or not.
    """
    ways: dict[str, list[str]] = {}
    for name, weight in rewards.items() if enabled else ():
        ways.setdefault(name, []).append(f"with weight {weight:g}")
    for name in floors if enabled else ():
        ways.setdefault(name, []).append("by a floor")
    if early_dropping is not None:
        ways.setdefault(early_dropping.reward, []).append("by early dropping")
    return {name: " and ".join(found) for name, found in ways.items()}


def selecting_weights(
    enabled: bool, rewards: Mapping[str, float], early_dropping: EarlyDroppingSettings | None
) -> dict[str, float]:
    """Return the weight of each reward in the gain of what selects.

    It is the weight in the score. Where selection is off, the reward of early dropping alone decides.
    """
    if enabled:
        return dict(rewards)
    return {} if early_dropping is None else {early_dropping.reward: 1.0}


def selecting_of(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return `selecting_rewards` of a tree of parameters, or of a part of it: what is not there selects nothing."""
    selection, synthesis = (_section(parameters.get(name)) for name in ("preference_selection", "synthesis"))
    dropping = synthesis.get("early_dropping")
    return selecting_rewards(
        selection.get("enabled", True),
        selection.get("rewards", {}),
        selection.get("floors", {}),
        None if dropping is None else EarlyDroppingSettings.model_validate(dropping),
    )


def _section(value: Any) -> Mapping[str, Any]:
    if isinstance(value, BaseModel):  # Kedro turns sections into the models that nodes declare
        return value.model_dump()
    return value or {}
