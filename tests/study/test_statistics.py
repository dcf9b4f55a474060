"""Intervals over seeds and prompts, and Holm's correction."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsidiff_kedro.study.statistics import by_prompt, difference, holm, mean, ratio

FEW = 400


def table(values: np.ndarray, prompts: str = "p") -> pd.DataFrame:
    """One row per image: values [seeds, prompts, samples]."""
    seeds, count, samples = values.shape
    index = pd.MultiIndex.from_product([range(seeds), [f"{prompts}{n}" for n in range(count)], range(samples)])
    return pd.Series(values.ravel(), index.set_names(["seed", "prompt_id", "sample_index"])).rename("x").reset_index()


def made(seeds: int, prompts: int, seed: int = 0, spread: float = 0.0, shift: float = 0.0) -> pd.DataFrame:
    """Random values with an effect per seed, by prompt."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(seeds, prompts, 1)) + rng.normal(scale=0.3, size=(seeds, prompts, 2))
    return by_prompt(table(values + shift + spread * rng.normal(size=(seeds, 1, 1))), "x")


def test_holm_corrects_as_in_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_what_is_no_comparison() -> None:
    corrected = holm([0.02, math.nan, 0.04])
    assert corrected[0] == pytest.approx(0.04) and math.isnan(corrected[1]) and corrected[2] == pytest.approx(0.04)
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_and_keeps_the_order(p: list[float]) -> None:
    corrected = holm(p)
    assert all(raw <= new <= 1 for raw, new in zip(p, corrected, strict=True))
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()
    assert all(new <= len(p) * raw + 1e-12 or new == 1 for raw, new in zip(p, corrected, strict=True))


def test_a_mean_weighs_seeds_equally_and_each_prompt_by_its_samples() -> None:
    rows = pd.DataFrame({"seed": [0, 0, 0, 1], "prompt_id": ["a", "a", "b", "c"], "x": [1.0, 1.0, 4.0, 10.0]})
    assert mean(by_prompt(rows, "x"), FEW).value == pytest.approx((2.0 + 10.0) / 2)


def test_the_interval_has_the_width_of_theory_over_prompts_of_one_seed() -> None:
    values = by_prompt(table(np.random.default_rng(1).normal(size=(1, 400, 1))), "x")
    found = mean(values, 4000)
    expected = 2 * 1.96 * values["sum"].std(ddof=0) / math.sqrt(400)
    assert found.high - found.low == pytest.approx(expected, rel=0.08)


def test_the_interval_covers_the_spread_over_seeds() -> None:
    alike, apart = (mean(made(3, 100, spread=spread), FEW) for spread in (0.0, 1.0))
    assert apart.high - apart.low > 3 * (alike.high - alike.low)


def test_pairs_are_compared_more_sharply_than_independent_values() -> None:
    a = made(3, 60)
    same = a.assign(sum=a["sum"] + 0.2 * a["count"])
    paired, apart = difference(same, a, FEW), difference(made(3, 60, seed=1), a, FEW)
    assert paired[:3] == pytest.approx((0.2, 0.2, 0.2)) and apart.high - apart.low > 0.3


@pytest.mark.parametrize("compare", [difference, ratio])
@pytest.mark.parametrize("shared", [60, 59, 20, 1, 0])
@pytest.mark.parametrize("more", [0, 60])
def test_prompts_of_one_arm_alone_are_left_out_and_counted(compare, shared: int, more: int) -> None:
    """They score much higher, in either arm; the arms share so many of a seed's 60 prompts, and one may have more."""
    common = [f"p{number}" for number in range(shared)]
    a, b = (made(3, 60 + extra, seed, shift=3.0) for seed, extra in ((0, 0), (1, more)))
    a, b = (
        each.assign(sum=each["sum"].where(each.index.isin(common, level="prompt_id"), 1e3 * factor)).rename(
            index=lambda name, side=side: name if name in common else side + name, level="prompt_id"
        )
        for each, factor, side in ((a, 2, "a "), (b, 5, "b "))
    )
    found, alone = compare(a, b, FEW), [each[each.index.isin(common, level="prompt_id")] for each in (a, b)]
    assert found[:4] == pytest.approx(compare(*alone, FEW)[:4], nan_ok=True)
    assert math.isfinite(found.value) == (shared > 0)
    assert (found.seeds, found.prompts, found.left_out) == (3 * (shared > 0), 3 * shared, 3 * (120 + more - 2 * shared))


def test_a_prompt_that_both_were_tested_on_is_shared_also_where_one_measured_nothing() -> None:
    rows = pd.DataFrame({"seed": 0, "prompt_id": ["a", "b", "c"], "x": [1.0, 3.0, math.nan], "y": [math.nan, 0.0, 5.0]})
    found = difference(by_prompt(rows, "x"), by_prompt(rows, "y"), FEW)
    assert (found.value, found.prompts, found.left_out) == (2.0 - 2.5, 1, 0)


def test_samples_of_one_prompt_are_no_further_evidence() -> None:
    once = np.random.default_rng(2).normal(size=(2, 50, 1))
    one, ten = (mean(by_prompt(table(np.repeat(once, times, axis=2)), "x"), FEW) for times in (1, 10))
    assert one == pytest.approx(ten, nan_ok=True)


def test_only_seeds_that_both_have_are_compared() -> None:
    a = made(3, 20)
    assert difference(a, a.drop(index=2, level="seed"), FEW)[:3] == (0.0, 0.0, 0.0)
    assert math.isnan(difference(a.loc[[0]], a.loc[[1]], FEW).value)


def test_a_ratio_is_one_of_means() -> None:
    a = by_prompt(table(np.random.default_rng(3).uniform(1, 2, size=(3, 40, 2))), "x")
    half = a.assign(sum=a["sum"] / 2)
    assert ratio(half, a, FEW)[:3] == pytest.approx((0.5, 0.5, 0.5))
    assert ratio(a, a, FEW).p == 1.0


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_p_agrees_with_the_interval(seed: int) -> None:
    found = difference(made(3, 20, seed, spread=0.3), made(3, 20, seed + 1), FEW)
    excluded = found.low > 0 or found.high < 0
    assert 0 < found.p <= 1
    assert excluded == (found.p < 0.05) or 0.03 < found.p < 0.08


def test_p_of_no_effect_is_rarely_small() -> None:
    found = [difference(made(1, 60, 2 * n), made(1, 60, 2 * n + 1), FEW).p for n in range(60)]
    assert sum(p < 0.05 for p in found) <= 8


def test_one_prompt_has_no_interval() -> None:
    found = mean(made(1, 1), FEW)
    assert math.isfinite(found.value) and math.isnan(found.low)


def test_the_order_of_rows_changes_nothing() -> None:
    rows = table(np.random.default_rng(4).normal(size=(2, 30, 2)))
    mixed = rows.sample(frac=1, random_state=0)
    assert mean(by_prompt(rows, "x"), FEW) == pytest.approx(mean(by_prompt(mixed, "x"), FEW), nan_ok=True)


def test_what_was_not_measured_does_not_count() -> None:
    rows = pd.DataFrame({"seed": 0, "prompt_id": ["a", "b", "c"], "x": [True, False, None]})
    assert mean(by_prompt(rows, "x"), FEW).value == 0.5
