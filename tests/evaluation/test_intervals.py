"""Bootstrap intervals over prompts."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rsidiff_kedro.evaluation.intervals import Interval, bootstrap_mean, paired_difference, ratio_of_means

rows = st.lists(st.tuples(st.floats(-5, 5), st.sampled_from("abcd")), min_size=1, max_size=30)


@settings(max_examples=40)
@given(rows, st.randoms())
def test_an_interval_does_not_depend_on_the_order_of_the_images(rows, random):
    shuffled = random.sample(rows, len(rows))
    intervals = [
        bootstrap_mean(np.array([v for v, _ in part]), np.array([c for _, c in part]), 50, seed=1)
        for part in (rows, shuffled)
    ]
    np.testing.assert_allclose(*intervals, atol=1e-9)


@settings(max_examples=40)
@given(rows)
def test_an_interval_lies_within_the_values(rows):
    values = np.array([v for v, _ in rows])
    prompts = np.array([c for _, c in rows])
    assume(len(set(prompts)) > 1)
    interval = bootstrap_mean(values, prompts, 50, seed=0)
    assert values.min() - 1e-9 <= interval.low <= interval.high <= values.max() + 1e-9


def test_prompts_whose_samples_agree_widen_the_interval():
    rng = np.random.default_rng(0)
    prompts = np.repeat(np.arange(50), 8)
    together = np.repeat(rng.normal(size=50), 8)
    apart = rng.permutation(together)
    wide, narrow = (bootstrap_mean(values, prompts, 400, seed=0) for values in (together, apart))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_a_95_percent_interval_covers_the_true_mean_about_that_often():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(100):
        prompts = np.repeat(np.arange(30), 2)
        interval = bootstrap_mean(np.repeat(rng.normal(size=30), 2) + rng.normal(size=60), prompts, 200, seed)
        hits += interval.low <= 0 <= interval.high
    assert hits >= 88


def test_pairing_takes_away_what_both_sides_share():
    rng = np.random.default_rng(0)
    base = rng.normal(scale=10, size=100)
    interval = paired_difference(base + 1, base, np.arange(100), 200, seed=0)
    np.testing.assert_allclose(interval, 1)


def test_values_that_are_not_paired_are_refused():
    a, b = pd.Series([1.0, 2.0], index=["x", "y"]), pd.Series([1.0, 2.0], index=["y", "x"])
    with pytest.raises(ValueError, match="same index"):
        paired_difference(a, b, np.array(["p", "p"]), 10, seed=0)
    with pytest.raises(ValueError, match="one length"):
        paired_difference(np.ones(2), np.ones(3), np.array(["p", "p"]), 10, seed=0)


@pytest.mark.parametrize("values", [np.array([]), np.array([np.nan])])
def test_values_that_have_no_mean_are_refused(values):
    with pytest.raises(ValueError, match="finite"):
        bootstrap_mean(values, np.zeros(len(values)), 10, seed=0)


@settings(max_examples=40)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=20), st.integers(2, 4))
def test_identical_samples_of_a_prompt_tell_no_more_than_one_of_them(means, copies):
    prompts = np.arange(len(means))
    once = bootstrap_mean(np.array(means), prompts, 50, seed=3)
    repeated = bootstrap_mean(np.repeat(means, copies), np.repeat(prompts, copies), 50, seed=3)
    np.testing.assert_allclose(repeated, once, atol=1e-9)


@pytest.mark.parametrize("samples", [1, 2, 8])
def test_an_interval_is_the_theoretical_one_of_the_prompts_means(samples):
    """By the central limit theorem: 1.96 standard errors of the mean of the prompts' means to either side."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, 1)) + rng.normal(size=(400, samples))
    interval = bootstrap_mean(values.ravel(), np.repeat(np.arange(400), samples), 4000, seed=0)
    half = 1.96 * values.mean(axis=1).std() / np.sqrt(400)
    assert interval.mean == pytest.approx(values.mean())
    assert (interval.mean - interval.low, interval.high - interval.mean) == pytest.approx((half, half), rel=0.06)


def test_a_prompt_counts_by_its_samples_in_the_mean_and_in_every_resample():
    values, prompts = np.array([0.0, 0.0, 0.0, 4.0]), np.array(["a", "a", "a", "b"])
    interval = bootstrap_mean(values, prompts, 200, seed=0)
    assert interval == (1.0, 0.0, 4.0)  # resamples are a and a, a and b, or b and b


def test_a_single_prompt_says_nothing_about_others():
    interval = bootstrap_mean(np.array([1.0, 2.0, 6.0]), np.array(["a"] * 3), 50, seed=0)
    assert interval.mean == 3.0 and math.isnan(interval.low) and math.isnan(interval.high)
    assert not interval.excludes_zero


def test_an_interval_excludes_zero_if_it_lies_on_one_side_of_it():
    lying = [Interval(0.0, *ends).excludes_zero for ends in ((0.1, 2), (-2, -0.1), (-1, 1), (0, 1), (-1, 0))]
    assert lying == [True, True, False, False, False]


def test_a_ratio_of_means_lies_in_its_interval_and_is_one_of_equal_values():
    values = pd.Series(np.random.default_rng(0).uniform(1, 2, 50), index=[f"p{n}" for n in range(50)])
    assert ratio_of_means(values, values, 100, seed=0) == (1.0, 1.0, 1.0)
    ratio = ratio_of_means(values * 0.5 + 0.1 * values.sample(frac=1, random_state=0).to_numpy(), values, 200, seed=0)
    assert ratio.mean == pytest.approx(0.6)
    assert ratio.low < ratio.mean < ratio.high


def test_a_ratio_of_means_takes_prompts_that_only_one_side_has():
    ratio = ratio_of_means(pd.Series({"a": 1.0, "b": 3.0}), pd.Series({"b": 4.0, "c": 4.0}), 50, seed=0)
    assert ratio.mean == 0.5


@pytest.mark.parametrize("base", [{}, {"a": 0.0, "b": 0.0}])
def test_a_ratio_to_nothing_is_not_measured(base):
    found = ratio_of_means(pd.Series({"a": 1.0, "b": 3.0}), pd.Series(base, dtype=float), 50, seed=0)
    assert all(map(math.isnan, found))
