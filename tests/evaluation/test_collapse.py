"""The report of collapse warns of what moved for the worse beyond its noise, and is quiet otherwise."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rsidiff_kedro.evaluation.collapse import monitored_changes, signs_of_collapse

Round = dict[str, float | None]
STUDIES = Path(__file__).parents[2] / "docs" / "studies"
CLAIMS = pd.read_parquet(STUDIES / "claims/metrics.parquet")
"""What runs of conf/scenes measured in every round, three seeds of each arm (docs/studies/claims.md)."""
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


def measured_in(arm: str, seed: int) -> list[Round]:
    run = CLAIMS[(CLAIMS["arm"] == arm) & (CLAIMS["seed"] == seed)]
    return [dict(zip(part["metric"], part["value"], strict=True)) for _, part in run.groupby("round")]


def first_sign(arm: str, seed: int) -> int | None:
    """Return the first round with a sign of collapse."""
    measured = measured_in(arm, seed)
    return next((number for number in range(len(measured)) if names(measured[: number + 1], "proxy")), None)


@pytest.mark.parametrize(
    ("key", "before", "after", "monitor"),
    [
        ("test/prompt_accuracy", 1.0, 0.0, "accuracy"),
        ("test/hallucination_rate", 0.0, 1.0, "hallucination rate"),
        ("test/diversity_over_base", 1.0, 0.0, "diversity"),
        ("test/prompt_accuracy", 0.0, 1.0, None),
        ("test/prompt_accuracy", 1.0, 1.0, None),
        ("test/diversity_over_base", 1.0, 1.0, None),
    ],
)
def test_a_collapse_of_every_prompt_is_a_sign_although_it_has_no_noise(
    key: str, before: float, after: float, monitor: str | None
) -> None:
    first, last = ({key: value, f"{key}_low": value, f"{key}_high": value} for value in (before, after))
    assert names([first, last]) == ([monitor] if monitor else [])
    assert all(np.isfinite(each.size) for each in monitored_changes([first, last]))


def test_a_lucky_round_before_one_that_is_nearly_the_base_is_no_sign() -> None:
    """The gains over the base are nearly without noise then, but their difference has that of the lucky round."""
    key, gain = "test/prompt_accuracy", "test/prompt_accuracy_gain_over_base"

    def measured(accuracy: float, error: float) -> Round:
        value, half = accuracy - 0.6, 1.96 * error
        return {
            **{key: accuracy, f"{key}_low": accuracy - 0.05, f"{key}_high": accuracy + 0.05},
            **{gain: value, f"{gain}_low": value - half, f"{gain}_high": value + half},
        }

    rounds_of_luck = [measured(0.6, 0.0), measured(0.615, 0.008), measured(0.6, 0.0035)]
    assert names(rounds_of_luck) == []
    assert names([*rounds_of_luck[:2], measured(0.5, 0.02)]) == ["accuracy"]


def test_what_has_no_interval_is_not_monitored() -> None:
    key = "test/prompt_accuracy"
    alone = [{key: value, f"{key}_low": np.nan, f"{key}_high": np.nan} for value in (1.0, 0.0)]
    assert monitored_changes(alone) == []


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_naive_self_training_is_warned_of_by_round_4_and_the_method_not_in_its_first_six_rounds(seed: int) -> None:
    assert first_sign("naive", seed) in (3, 4)
    assert len(measured_in("method", seed)) == 13 and first_sign("method", seed) in (7, 8, 9)


def runs_of(study: str) -> dict[tuple[str, int], list[Round]]:
    """Return what each run of a study measured, by arm and seed."""
    table = pd.read_parquet(STUDIES / study / "metrics.parquet")
    return {
        key: [dict(zip(part["metric"], part["value"], strict=True)) for _, part in run.groupby("round")]
        for key, run in table.groupby(["arm", "seed"])
    }


def test_twelve_rounds_of_the_default_show_no_sign() -> None:
    runs = [measured for (arm, _), measured in runs_of("beyond").items() if arm == "default"]
    assert len(runs) == 3
    for measured in runs:
        assert [names(measured[:count], "proxy") for count in range(1, 14)] == [[]] * 13


def test_rounds_that_harm_a_base_are_warned_of_when_they_are_first_tested() -> None:
    """Both arms of the second family, which were tested in rounds 3 and 6."""
    signs = {key: names(measured[:4], "proxy") for key, measured in runs_of("second_family").items()}
    assert len(signs) == 6 and all(signs.values())


def test_every_monitor_says_how_far_it_moved_for_the_worse() -> None:
    measured = measured_in("method", 3)[:7]
    changes = {change.monitor: change for change in monitored_changes(measured, "proxy")}
    gap = "gap between what selects and what is held out"
    assert [*changes] == ["accuracy", "hallucination rate", "diversity", gap, "saturation", "sharpness"]
    assert not any(change.clear for change in changes.values())
    ratio, low, high = (measured[-1][f"test/diversity_over_base{end}"] for end in ("", "_low", "_high"))
    assert changes["diversity"].size == pytest.approx((1 - ratio) / ((high - low) / 2 / 1.96))


def test_a_paired_interval_sees_smaller_changes() -> None:
    measured = rounds({"test/prompt_accuracy": (0.6, 0.7, 0.65)})
    assert names(measured) == []
    for metrics, gain in zip(measured[1:], (0.1, 0.05)):
        key = "test/prompt_accuracy_gain_over_base"
        metrics |= {f"{key}_low": gain - 0.01, f"{key}_high": gain + 0.01}
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
        ("test/reward/mine:contrast_low", (1.0, 0.5), "held-out reward mine:contrast_low"),
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
