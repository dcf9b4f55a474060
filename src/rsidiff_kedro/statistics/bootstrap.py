"""Bootstrap intervals for means over prompts and their samples."""

from typing import NamedTuple

import numpy as np
import pandas as pd


class Interval(NamedTuple):
    """A mean and the interval around it."""

    mean: float
    low: float
    high: float


def bootstrap_mean(
    values: pd.Series | np.ndarray,
    clusters: pd.Series | np.ndarray,
    n_resamples: int,
    seed: int,
    confidence: float = 0.95,
) -> Interval:
    """The mean of all values with its percentile interval, resampling prompts and then samples within each.

    The samples of a prompt go up and down together, so resampling images alone would give too narrow an
    interval. The result does not depend on the order of the rows.

    Args:
        values: one number an image, [n]; booleans count as 0 and 1.
        clusters: the prompt of each, [n].
        n_resamples: how many bootstrap resamples, 1 or more; 1000 gives an interval to about two digits.
        seed: of the resampling.
        confidence: the share of resampled means inside the interval, in (0, 1).

    Raises:
        ValueError: no value, one that is not finite, or as many clusters as values are not given.
    """
    numbers, groups = np.asarray(values, dtype=np.float64), np.asarray(clusters)
    if not len(numbers) or numbers.shape != groups.shape or not np.isfinite(numbers).all():
        raise ValueError(
            f"values {numbers.shape} and clusters {groups.shape} must be of one length, not empty, and values finite"
        )
    codes, _ = pd.factorize(groups, sort=True)
    order = np.lexsort((numbers, codes))
    numbers, sizes = numbers[order], np.bincount(codes)
    starts = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(seed)
    means = np.empty(n_resamples)
    for index in range(n_resamples):
        chosen = rng.integers(len(sizes), size=len(sizes))
        within = np.repeat(sizes[chosen], sizes[chosen])
        rows = np.repeat(starts[chosen], sizes[chosen]) + np.floor(rng.random(len(within)) * within).astype(int)
        means[index] = numbers[rows].mean()
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(numbers.mean()), float(low), float(high))


def paired_difference(
    a: pd.Series | np.ndarray,
    b: pd.Series | np.ndarray,
    clusters: pd.Series | np.ndarray,
    n_resamples: int,
    seed: int,
    confidence: float = 0.95,
) -> Interval:
    """The mean of `a - b` over paired images with its interval; see `bootstrap_mean`.

    Raises:
        ValueError: the two are not paired: other lengths, or two Series with other indices.
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(f"paired values must be of one length, not {np.shape(a)} and {np.shape(b)}")
    if isinstance(a, pd.Series) and isinstance(b, pd.Series) and not a.index.equals(b.index):
        raise ValueError("paired Series must have the same index in the same order; sort both by image_id first")
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return bootstrap_mean(difference, clusters, n_resamples, seed, confidence)
