"""Measure how much images differ from each other."""

import itertools
import json

import numpy as np
import pandas as pd


def embedding_spread(features: np.ndarray, prompt_ids: pd.Series | np.ndarray) -> pd.Series:
    """Return the mean pairwise cosine distance of features [n, d], in [0, 2], within each prompt, by prompt_id.

    Wrong samples differ most, so it also falls as a model gets better. Unlike a Vendi score it does not depend on the
    number of samples per prompt. It is NaN for a single sample.
    """
    from sklearn.preprocessing import normalize

    rows = pd.DataFrame(normalize(np.asarray(features, dtype=np.float64)))
    groups = rows.groupby(pd.Index(prompt_ids, name="prompt_id"))
    counts = groups.size()
    # |sum of unit vectors|² = n + the cosine of every ordered pair
    pairs = (groups.sum() ** 2).sum(axis=1) - (rows**2).sum(axis=1).groupby(pd.Index(prompt_ids)).sum()
    similarity = pairs / (counts * (counts - 1)).where(counts > 1)
    return (1 - similarity).clip(0, 2).rename("embedding_spread")


def open_diversity(verdicts: pd.DataFrame) -> pd.Series:
    """Return how much the right samples of a prompt differ in attributes that it leaves open, in [0, 1], by prompt_id.

    It is the share of open attributes in which two right samples of the prompt differ, averaged over all pairs (a
    Gini-Simpson index). An attribute that one sample has and the other lacks counts as a difference. Prompts with fewer
    than two right samples are left out, and so are those of which no sample has an open attribute. Wrong samples do not
    count, because they would differ most. `verdicts` has prompt_id and the columns of `judging.Judge`.
    """
    right = verdicts[verdicts["correct"].fillna(False).astype(bool)]
    values = {}
    for prompt_id, shown in right.groupby("prompt_id")["left_open"]:
        pairs = list(itertools.combinations(map(json.loads, shown), 2))
        differs = [one.get(key) != other.get(key) for one, other in pairs for key in one.keys() | other.keys()]
        if differs:
            values[prompt_id] = float(np.mean(differs))
    return pd.Series(values, name="open_diversity", dtype=float).rename_axis("prompt_id")
