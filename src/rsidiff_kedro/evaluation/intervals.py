"""Compute bootstrap intervals of means over prompts."""

import math
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

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
    ends = bootstrap(
        (sums, sizes),
        lambda total, count, axis: total.sum(axis=axis) / count.sum(axis=axis),
        n_resamples=n_resamples,
        batch=max(1, 1_000_000 // len(sizes)),  # a million resampled numbers in memory at once
        paired=True,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(ends.low), float(ends.high))


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
