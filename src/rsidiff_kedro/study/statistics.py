"""Compute intervals over seeds and prompts, and p-values with Holm's correction.

Runs of one seed share their prompts and noise, and samples of one prompt depend on each other. So a resample takes
seeds at random, then whole prompts within each of them, with all that these have in both arms. Only prompts that all
of them were tested on are compared.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rsidiff_kedro.evaluation.intervals import Interval

KEY = ["seed", "prompt_id"]
RESAMPLES = 5000


class Estimate(NamedTuple):
    """A value with its 95 % percentile interval, and the two-sided p-value of no effect; NaN where unknown.

    Attributes:
        value: a mean, or a difference or ratio of two.
        low: the interval's lower end.
        high: its upper end.
        p: the p-value.
        seeds: that all compared tables have.
        prompts: of these seeds, measured in all tables.
        left_out: prompts of seeds that all tables have, tested in some of them alone.
    """

    value: float
    low: float
    high: float
    p: float
    seeds: int = 0
    prompts: int = 0
    left_out: int = 0

    @property
    def interval(self) -> Interval:
        """Return it as the interval of a mean."""
        return Interval(self.value, self.low, self.high)


UNKNOWN = Estimate(math.nan, math.nan, math.nan, math.nan)
"""The estimate of nothing to compare."""


def by_prompt(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the sum and the number of a column's values per seed and prompt; 0 and 0 where none was measured.

    The index is `KEY`, with all prompts of the table.
    """
    measured = table.dropna(subset=column)
    values = measured[column].astype(float)
    groups = values.groupby([measured["seed"], measured["prompt_id"]])
    found = pd.DataFrame({"sum": groups.sum(), "count": groups.size().astype(float)})
    return found.reindex(pd.MultiIndex.from_frame(table[KEY].drop_duplicates()), fill_value=0.0)


def mean(values: pd.DataFrame, n_resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Return the mean over seeds of each seed's mean; its p-value says nothing.

    Args:
        values: from `by_prompt`.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    return _estimate([values], lambda means: means[0], 0.0, n_resamples, seed)._replace(p=math.nan)


def difference(a: pd.DataFrame, b: pd.DataFrame, n_resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Return mean(a) - mean(b) over the seeds and prompts that both have, paired by prompt; see `mean`."""
    return _estimate([a, b], lambda means: means[0] - means[1], 0.0, n_resamples, seed)


def ratio(a: pd.DataFrame, b: pd.DataFrame, n_resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Return mean(a) / mean(b), as `difference`; no effect is a ratio of one."""
    return _estimate([a, b], lambda means: means[0] / means[1], 1.0, n_resamples, seed)


def _estimate(
    tables: Sequence[pd.DataFrame], value: Callable[[Any], Any], none: float, n_resamples: int, seed: int
) -> Estimate:
    """Return a function of the tables' means, with its interval from resampled seeds and prompts.

    `none` is its value where there is no effect.
    """
    seeds, left_out = _parts(tables)
    measured = sum(int((part[:, 1::2] > 0).all(axis=1).sum()) for part in seeds)
    unknown = UNKNOWN._replace(seeds=len(seeds), prompts=measured, left_out=left_out)
    if not seeds:
        return unknown
    with np.errstate(invalid="ignore", divide="ignore"):
        found = float(value(np.mean([_means(part.sum(axis=0)) for part in seeds], axis=0)))
        if not math.isfinite(found) or sum(map(len, seeds)) < 2:
            return unknown._replace(value=found if math.isfinite(found) else math.nan)
        samples = value(np.moveaxis(_resample(seeds, n_resamples, seed), -1, 0))
    if not np.isfinite(samples).all():
        return unknown._replace(value=found)
    low, high = np.quantile(samples, [0.025, 0.975])
    side = min((samples <= none).sum(), (samples >= none).sum())
    p = float(min(1.0, 2 * (side + 1) / (n_resamples + 1)))
    return unknown._replace(value=found, low=float(low), high=float(high), p=p)


def _parts(tables: Sequence[pd.DataFrame]) -> tuple[list[np.ndarray], int]:
    """Return an array [prompts, 2 x tables] of sums and counts per seed, and how many prompts are not in all tables.

    Its prompts are those of all tables that one measured or more; its seeds are those that all measured.
    """
    shared = set.intersection(*({*table.index.get_level_values("seed")} for table in tables))
    named = [table.add_suffix(f"_{number}") for number, table in enumerate(tables)]
    joined = pd.concat(named, axis="columns", join="inner").sort_index()
    left_out = sum(int(table.index.isin(shared, level="seed").sum()) - len(joined) for table in tables)
    parts = [part.to_numpy() for _, part in joined.groupby(level="seed")]
    parts = [part[(part[:, 1::2] > 0).any(axis=1)] for part in parts]
    return [part for part in parts if (part[:, 1::2].sum(axis=0) > 0).all()], left_out


def _means(totals: np.ndarray) -> np.ndarray:
    """Turn sums and counts in turn, [..., 2 x tables], into means [..., tables]."""
    return totals[..., 0::2] / totals[..., 1::2]


def _resample(seeds: Sequence[np.ndarray], n_resamples: int, seed: int) -> np.ndarray:
    """Return means [n_resamples, tables] over seeds taken with replacement, and prompts within each."""
    total = np.zeros((n_resamples, seeds[0].shape[1] // 2))
    for number, rows, times in _chosen(tuple(map(len, seeds)), n_resamples, seed):
        total[rows] += _means(times @ seeds[number])
    return total / len(seeds)


@lru_cache(maxsize=8)  # a page takes hundreds of intervals of the same prompts
def _chosen(sizes: tuple[int, ...], n_resamples: int, seed: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Choose seeds and prompts: a seed, the resamples that take it, and how often these take each of its prompts."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in sizes:
        chosen = rng.integers(len(sizes), size=n_resamples)
        for number, size in enumerate(sizes):
            rows = np.flatnonzero(chosen == number)
            times = rng.multinomial(size, np.full(size, 1 / size), size=len(rows))
            found.append((number, rows, times.astype(np.float64)))
    return found


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's step-down method; NaN is no comparison and stays."""
    values = np.asarray(p, dtype=float)
    tested = np.flatnonzero(np.isfinite(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    factors = len(order) - np.arange(len(order))
    values[order] = np.minimum(np.maximum.accumulate(factors * values[order]), 1.0)
    return values.tolist()
