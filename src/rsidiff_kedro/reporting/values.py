"""Read what rounds measured."""

import math
from collections.abc import Collection, Mapping, Sequence

from rsidiff_kedro.evaluation.intervals import Interval

Metrics = Mapping[str, float | None]
"""A round's metrics by name; `<name>_low` and `<name>_high`, if present, are the interval's ends."""
TEST_PREFIX = "test/"
REWARD_PREFIX = f"{TEST_PREFIX}reward/"


def metric_names(rounds: Collection[Metrics]) -> list[str]:
    """List what at least one round measured, without the ends of intervals, in order of the names."""
    keys = {key for metrics in rounds for key in metrics}
    ends = {f"{key}{end}" for key in keys for end in ("_low", "_high")}
    return sorted(key for key in keys - ends if is_measured(rounds, key))


def reward_names(rounds: Sequence[Metrics]) -> list[str]:
    """List the rewards that the metrics report on the test prompts, in order of their names."""
    keys = {key for metrics in rounds for key in metrics if key.startswith(REWARD_PREFIX)}
    ends = {f"{key}{end}" for key in keys for end in ("_low", "_high")}
    return sorted(key.removeprefix(REWARD_PREFIX) for key in keys - ends)


def values_of(rounds: Collection[Metrics], key: str) -> list[float]:
    """Return the metric in each round; NaN where it was not measured."""
    found = [metrics.get(key) for metrics in rounds]
    return [math.nan if value is None else float(value) for value in found]


def intervals_of(rounds: Collection[Metrics], key: str) -> list[Interval]:
    """Return the metric in each round with its interval; NaN where one was not measured."""
    return list(map(Interval, *(values_of(rounds, f"{key}{end}") for end in ("", "_low", "_high"))))


def is_measured(rounds: Collection[Metrics], key: str) -> bool:
    """Tell whether any round measured it."""
    return not all(map(math.isnan, values_of(rounds, key)))


def untested_rounds(rounds: Sequence[Metrics]) -> list[int]:
    """List the rounds whose adapter was not tested, so that their metrics name nothing of the test prompts."""
    tested = [any(key.startswith(TEST_PREFIX) for key in metrics) for metrics in rounds]
    return [number for number, each in enumerate(tested) if any(tested) and not each]


def rejected_rounds(rounds: Sequence[Metrics]) -> list[int]:
    """List the rounds whose candidate the gate rejected; the base has no gate."""
    return [number for number, value in enumerate(values_of(rounds, "gate/accepted")) if number and value == 0.0]


def gate_verdict(metrics: Metrics) -> str:
    """Return what became of a round's candidate: "accepted", "rejected", or "no gate" where it was off."""
    enabled, accepted = (values_of([metrics], f"gate/{name}")[0] for name in ("enabled", "accepted"))
    return "rejected" if accepted == 0.0 else "no gate" if enabled == 0.0 else "accepted"


def accepted_round(rounds: Sequence[Metrics]) -> int:
    """Return the round whose adapter is in use after the last one; 0 if the gate rejected every candidate."""
    return max(set(range(len(rounds))) - set(rejected_rounds(rounds)))


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    minutes, rest = divmod(round(seconds), 60)
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
