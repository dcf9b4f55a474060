"""The report of collapse warns of what moved for the worse beyond its noise, and is quiet otherwise."""

import pytest

from rsidiff_kedro.evaluation.collapse import monitored_changes, signs_of_collapse

Round = dict[str, float | None]
METHOD = {
    "test/prompt_accuracy": (0.5725, 0.765, 0.795, 0.8125, 0.825, 0.825, 0.825),
    "test/hallucination_rate": (0.275, 0.1475, 0.1425, 0.145, 0.1375, 0.1375, 0.1375),
    "test/diversity_over_base": (1.0, 1.022, 0.995, 0.955, 0.949, 0.949, 0.949),
    "test/reward_gap": (0.0, -0.095, -0.119, -0.123, -0.167, -0.167, -0.167),
    "test/saturation": (0.25, 0.268, 0.272, 0.283, 0.288, 0.288, 0.288),
}
"""A run of the default configuration (seed 0)."""
NAIVE = {
    "test/prompt_accuracy": (0.603, 0.672, 0.678, 0.662, 0.627),
    "test/hallucination_rate": (0.259, 0.247, 0.263, 0.289, 0.342),
}
"""Means over three seeds (docs/earlier-results.md)."""
HALF = {
    "test/prompt_accuracy": 0.041,
    "test/hallucination_rate": 0.036,
    "test/diversity_over_base": 0.1,
    "test/reward_gap": 0.08,
    "test/saturation": 0.031,
}
"""Half the width of an interval over 200 prompts."""


def rounds(values: dict[str, tuple[float, ...]]) -> list[Round]:
    found: list[Round] = [{} for _ in next(iter(values.values()))]
    for key, numbers in values.items():
        for metrics, value in zip(found, numbers, strict=True):
            half = HALF.get(key, 0.1)
            metrics |= {key: value, f"{key}_low": value - half, f"{key}_high": value + half}
    return found


def names(measured: list[Round], *selecting: str) -> list[str]:
    return [sign.monitor for sign in signs_of_collapse(measured, selecting)]


def test_the_method_s_six_rounds_are_quiet() -> None:
    measured = rounds(METHOD)
    assert [names(measured[:count]) for count in range(1, 8)] == [[]] * 7


def test_naive_self_training_is_warned_of_by_round_4() -> None:
    measured = rounds(NAIVE)
    assert [bool(names(measured[:count])) for count in range(1, 6)] == [False, False, False, False, True]


def test_every_monitor_says_how_far_it_moved_for_the_worse() -> None:
    changes = {change.monitor: change for change in monitored_changes(rounds(METHOD))}
    assert list(changes) == [
        "accuracy",
        "hallucination rate",
        "diversity",
        "gap between what selects and what is held out",
        "saturation",
    ]
    assert not any(change.clear for change in changes.values())
    assert changes["diversity"].size == pytest.approx((1 - 0.949) / (0.1 / 1.96))
    assert changes["accuracy"].size == 0  # as good as the best round before


def test_a_paired_interval_sees_smaller_changes() -> None:
    measured = rounds({"test/prompt_accuracy": (0.6, 0.7, 0.65)})
    assert names(measured) == []
    measured[-1] |= {"test/prompt_accuracy_gain_over_base_low": 0.04, "test/prompt_accuracy_gain_over_base_high": 0.06}
    assert names(measured) == ["accuracy"]


def test_a_warning_says_what_it_was_how_clear_and_what_to_change() -> None:
    (sign,) = signs_of_collapse(rounds({"test/hallucination_rate": (0.3, 0.2, 0.4)}))
    assert str(sign).startswith("hallucination rate 0.400 after 0.200 in round 1, 7.7 standard errors; turn weighting")


@pytest.mark.parametrize(
    ("key", "values", "name"),
    [
        ("test/diversity_over_base", (1.0, 0.7), "diversity"),
        ("test/reward_gap", (0.0, 0.2), "gap between what selects and what is held out"),
        ("test/saturation", (0.25, 0.4), "saturation"),
        ("test/saturation", (0.25, 0.1), "saturation"),
        ("test/reward/held", (1.0, 0.5), "held-out reward held"),
    ],
)
def test_each_monitor_warns(key: str, values: tuple[float, ...], name: str) -> None:
    assert names(rounds({key: values}), "selects") == [name]
    assert names(rounds({key: (values[0], values[0])}), "selects") == []


def test_a_reward_that_selects_is_no_monitor() -> None:
    assert names(rounds({"test/reward/proxy": (1.0, 0.5)}), "proxy") == []


@pytest.mark.parametrize("last", [{}, {"test/prompt_accuracy": None}, {"test/prompt_accuracy": 0.1}])
def test_what_was_not_measured_or_has_no_interval_is_quiet(last: Round) -> None:
    first: Round = {"test/prompt_accuracy": 0.9}
    assert names([first, last]) == []
