"""Monitor the rounds for collapse: how far each monitor moved for the worse, is that beyond its noise, what to change.

A monitor is compared with the best round before, or with the base. Its noise is the standard error that its interval
says. Rounds share their prompts, so that differences vary less than two intervals say; where a paired interval is
measured, it counts. Many rounds are looked at, so a move must be `CLEAR` standard errors, and not two.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

Metrics = Mapping[str, float | None]
CLEAR = 2.4
"""Standard errors from which a change counts."""
DRIFT = 3.5
"""The same of image statistics, which may change for good reasons."""
KEPT = 0.9
"""Share of the base's diversity that a run may go down to."""
_WIDTH = 2 * 1.96
_MOST = 99.0
"""Standard errors of a change without noise, as where no image is right any more."""


@dataclass(frozen=True)
class Change:
    """The change of a monitor in one round.

    Attributes:
        monitor: in words.
        change: what it was and is, in words.
        size: in standard errors; above zero for the worse. Of image statistics, in either direction.
        clear: whether it is a sign of collapse.
        advice: what to change then.
    """

    monitor: str
    change: str
    size: float
    clear: bool
    advice: str

    def __str__(self) -> str:
        return f"{self.monitor} {self.change}, {self.size:.1f} standard errors; {self.advice}"


@dataclass(frozen=True)
class _Monitor:
    """A metric that is better high (sign 1) or low (sign -1), and should not be worse than in the best round before."""

    key: str
    name: str
    sign: int
    advice: str
    paired: str | None = None


_TRAIN_LESS = "stop at that round, or lower finetune.learning_rate, or turn the gate on"
_MONITORS = (
    _Monitor("test/prompt_accuracy", "accuracy", 1, _TRAIN_LESS, "test/prompt_accuracy_gain_over_base"),
    _Monitor(
        "test/hallucination_rate",
        "hallucination rate",
        -1,
        "turn weighting and preference_selection on, or lower weighting.temperature",
    ),
)
_DRIFTING = {"test/saturation": "saturation", "test/sharpness": "sharpness"}


def signs_of_collapse(rounds: Sequence[Metrics], selecting: Collection[str] = ()) -> list[Change]:
    """Return the changes in the last of these rounds that are clear, as `monitored_changes` finds them."""
    return [change for change in monitored_changes(rounds, selecting) if change.clear]


def monitored_changes(rounds: Sequence[Metrics], selecting: Collection[str] = ()) -> list[Change]:
    """Return how every monitor changed in the last of these rounds, as far as it was measured with its noise.

    Args:
        rounds: the metrics of all rounds so far, the base first.
        selecting: the rewards that select; the others are held out, and must not fall either.
    """
    if len(rounds) < 2:
        return []
    last = rounds[-1]
    ends = {f"{key}{end}" for key in last for end in ("_low", "_high")}
    held_out = [
        _Monitor(key, f"held-out reward {key.removeprefix('test/reward/')}", 1, _TRAIN_LESS)
        for key in sorted(last.keys() - ends)
        if key.startswith("test/reward/") and key.removeprefix("test/reward/") not in selecting
    ]
    found = [_fall(rounds, monitor) for monitor in (*_MONITORS, *held_out)]
    found += [_diversity(last), _gap(last), *(_drift(rounds, key, name) for key, name in _DRIFTING.items())]
    return [each for each in found if math.isfinite(each.size)]


def _fall(rounds: Sequence[Metrics], monitor: _Monitor) -> Change:
    """Compare the last round with the best before."""
    values = [_value(metrics, monitor.key) for metrics in rounds]
    before = [number for number in range(len(rounds) - 1) if math.isfinite(values[number])]
    best = max(before, key=lambda number: monitor.sign * values[number], default=0)
    # A round's gain is paired with the base, so the noise between two rounds is that of both gains.
    gains = [_error(rounds[number], monitor.paired) for number in {best, len(rounds) - 1} - {0} if monitor.paired]
    error = math.hypot(*gains) if gains else math.nan
    if math.isnan(error):
        error = math.hypot(_error(rounds[-1], monitor.key), _error(rounds[best], monitor.key))
    size = _in_errors(monitor.sign * (values[best] - values[-1]), error)
    change = f"{values[-1]:.3f} after {values[best]:.3f} in round {best}"
    return Change(monitor.name, change, size, size > CLEAR, monitor.advice)


def _diversity(last: Metrics) -> Change:
    """Compare it with the base's; a sign is what lies beyond doubt below `KEPT`."""
    key = "test/diversity_over_base"
    ratio, error = _value(last, key), _error(last, key)
    advice = (
        "set replay.base=true, raise preference_selection.keep_per_prompt, or lower synthesis.sampler.guidance_scale"
    )
    size, below = _in_errors(1 - ratio, error), _in_errors(KEPT - ratio, error)
    return Change("diversity", f"x {ratio:.2f} of the base's", size, below > 1.96, advice)


def _gap(last: Metrics) -> Change:
    gap, error = _value(last, "test/reward_gap"), _error(last, "test/reward_gap")
    size = _in_errors(gap, error)
    advice = "the model learns to please what selects: add a reward to preference_selection.rewards, or a max_gap"
    return Change("gap between what selects and what is held out", f"{gap:+.2f}", size, size > CLEAR, advice)


def _drift(rounds: Sequence[Metrics], key: str, name: str) -> Change:
    """Compare the last round with the base."""
    before, after = _value(rounds[0], key), _value(rounds[-1], key)
    error = math.hypot(_error(rounds[0], key), _error(rounds[-1], key))
    size = _in_errors(abs(after - before), error)
    advice = "look at the images; set replay.base=true, or lower finetune.learning_rate"
    return Change(name, f"{after:.3f} after the base's {before:.3f}", size, size > DRIFT, advice)


def _in_errors(change: float, error: float) -> float:
    """Return a change in standard errors, at most `_MOST` in either direction; NaN if its noise was not measured."""
    if math.isnan(change) or math.isnan(error):
        return math.nan
    if not error:
        return math.copysign(_MOST, change) if change else 0.0
    return max(-_MOST, min(change / error, _MOST))


def _value(metrics: Metrics, key: str) -> float:
    value = metrics.get(key)
    return math.nan if value is None else float(value)


def _error(metrics: Metrics, key: str) -> float:
    """Return the standard error that a 95 % interval says; NaN without one."""
    return (_value(metrics, f"{key}_high") - _value(metrics, f"{key}_low")) / _WIDTH
