"""Compute bootstrap intervals of means over prompts."""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

Numbers: TypeAlias = pd.Series | np.ndarray


class Interval(NamedTuple):
    """A mean and the interval around it; the ends are NaN if there is only one prompt."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return "no interval" if math.isnan(self.low) else f"[{self.low:+.3f}, {self.high:+.3f}]"

    @property
    def excludes_zero(self) -> bool:
        """Tell whether the whole interval is above or below zero."""
        return self.low > 0 or self.high < 0


def ratio_text(ratio: Interval) -> str:
    """Write a ratio and its interval."""
    return f"x {ratio.mean:.2f} " + ("no interval" if math.isnan(ratio.low) else f"[{ratio.low:.2f}, {ratio.high:.2f}]")


def ratio_verdict(ratio: Interval) -> str:
    """Return "better" or "worse" if the interval excludes one, else "no clear change"; a higher ratio is better."""
    return "better" if ratio.low > 1 else "worse" if ratio.high < 1 else "no clear change"


def bootstrap_mean(values: Numbers, clusters: Numbers, n_resamples: int, seed: int) -> Interval:
    """Return the mean of all values with its 95 % percentile interval from resampled prompts.

    Samples of one prompt depend on each other, so prompts are resampled and each keeps its samples. The result does
    not depend on the order of the rows.

    Args:
        values: one number per image, [n]; booleans count as 0 and 1.
        clusters: the prompt of each image, [n].
        n_resamples: 1 or more; 1000 gives an interval to about two digits.

    Raises:
        ValueError: there is no value, one is not finite, or values and clusters differ in number.
    """
    numbers, groups = np.asarray(values, dtype=np.float64), np.asarray(clusters)
    if not len(numbers) or numbers.shape != groups.shape or not np.isfinite(numbers).all():
        raise ValueError(
            f"values {numbers.shape} and clusters {groups.shape} must be of one length, not empty, and values finite"
        )
    codes, _ = pd.factorize(groups, sort=True)
    order = np.lexsort((numbers, codes))  # a sum's rounding depends on the order
    sums, sizes = np.bincount(codes[order], numbers[order]), np.bincount(codes).astype(float)
    mean = float(numbers[order].mean())
    if len(sizes) < 2:
        return Interval(mean, math.nan, math.nan)
    # Prompts may have different numbers of samples, so the mean is a ratio of two sums over the resampled prompts.
    return Interval(mean, *_resample((sums, sizes), lambda total, count: total / count, n_resamples, seed))


def ratio_of_means(a: pd.Series, b: pd.Series, n_resamples: int, seed: int) -> Interval:
    """Return mean(a) / mean(b) of values by prompt with its 95 % percentile interval from resampled prompts.

    The two may have values for different prompts; a resampled prompt brings what it has of both. The ratio is NaN if
    one has no value or the mean of `b` is 0, and the interval is NaN if a resample may be such a case.
    """
    from scipy.stats import DegenerateDataWarning

    both = pd.concat([a.rename("a"), b.rename("b")], axis="columns").sort_index().astype(float)
    sums, counts = both.fillna(0.0).to_numpy().T, both.notna().to_numpy(float).T

    def ratio(a_sum: Any, a_count: Any, b_sum: Any, b_count: Any) -> Any:
        return a_sum * b_count / (a_count * b_sum)

    parts = (sums[0], counts[0], sums[1], counts[1])
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        mean = float(ratio(*(part.sum() for part in parts)))
        if len(both) < 2 or not math.isfinite(mean):
            return Interval(mean if math.isfinite(mean) else math.nan, math.nan, math.nan)
        low, high = _resample(parts, ratio, n_resamples, seed)
    return Interval(mean, *((low, high) if math.isfinite(low + high) else (math.nan, math.nan)))


def _resample(
    parts: tuple[np.ndarray, ...], of_sums: Callable[..., Any], n_resamples: int, seed: int
) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a function of sums over prompts; each part has a number per prompt."""
    from scipy.stats import bootstrap

    ends = bootstrap(
        parts,
        lambda *resampled, axis: of_sums(*(part.sum(axis=axis) for part in resampled)),
        n_resamples=n_resamples,
        batch=max(1, 1_000_000 // len(parts[0])),  # a million resampled numbers in memory at once
        paired=True,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(ends.low), float(ends.high)


def paired_difference(a: Numbers, b: Numbers, clusters: Numbers, n_resamples: int, seed: int) -> Interval:
    """Return the mean of `a - b` over paired images with its interval; see `bootstrap_mean`.

    Raises:
        ValueError: the two are not paired: they differ in length, or are Series with different indices.
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(f"paired values must be of one length, not {np.shape(a)} and {np.shape(b)}")
    if isinstance(a, pd.Series) and isinstance(b, pd.Series) and not a.index.equals(b.index):
        raise ValueError("paired Series must have the same index in the same order; sort both by image_id first")
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return bootstrap_mean(difference, clusters, n_resamples, seed)
