"""Compute results by category of the test prompts, such as a style or a number of objects."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.image_set import PAIR
from rsidiff_kedro.evaluation.intervals import Interval, bootstrap_mean

ACCURACY = "prompt_accuracy"
REWARD = "reward/"
ENDS = ("", "_low", "_high", "_gain", "_gain_low", "_gain_high")
_NOT_MEASURED = Interval(math.nan, math.nan, math.nan)


class OtherPromptsError(InputError):
    """Rounds that were tested on different prompts cannot be compared."""


def category_scores(
    prompts: pd.DataFrame, test_scores: Sequence[pd.DataFrame], rewards: Sequence[str], n_resamples: int, seed: int
) -> pd.DataFrame:
    """Return one row per round and category: its number of prompts and images, and each measure's mean and interval.

    The measures are the judge's accuracy (`prompt_accuracy`), where there is a judge, and `reward/<name>`. Each has the
    columns `ENDS`: the mean with its 95 % interval (low, high), and the paired difference to the base on the same
    prompts and seeds with its interval (gain, gain_low, gain_high). NaN means that nothing was measured.

    Args:
        prompts: the test prompts, with prompt_id and category.
        test_scores: every round's table, the base first.
        rewards: their columns to report.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        OtherPromptsError: a round was tested on other prompts.
    """
    for number, scores in enumerate(test_scores):
        if set(scores["prompt_id"]) != set(prompts["prompt_id"]):
            raise OtherPromptsError(
                f"round {number} was tested on other prompts than test_prompts has, as by a run with other parameters; "
                "run all stages, with --only-missing-outputs to keep what is valid"
            )
    columns = {"correct": ACCURACY} if "correct" in test_scores[0] else {}
    columns |= {name: f"{REWARD}{name}" for name in rewards}
    categories = prompts.set_index("prompt_id")["category"]
    base = test_scores[0].set_index(PAIR)[list(columns)].astype(float)
    rows = []
    for number, scores in enumerate(test_scores):
        values = scores.set_index(PAIR)[list(columns)].astype(float).sort_index()
        names = values.index.get_level_values("prompt_id").map(categories)
        for category in sorted(set(names)):
            part = values[names == category]
            row: dict[str, object] = {"round": number, "category": category}
            row |= {"n_prompts": part.index.get_level_values("prompt_id").nunique(), "n_images": len(part)}
            for column, measure in columns.items():
                row |= _measured(measure, part[column], base[column].reindex(part.index), n_resamples, seed)
            rows.append(row)
    return pd.DataFrame(rows)


def _measured(measure: str, ours: pd.Series, base: pd.Series, n_resamples: int, seed: int) -> dict[str, float]:
    intervals = [_interval(values, n_resamples, seed) for values in (ours, ours - base)]
    return dict(zip((f"{measure}{end}" for end in ENDS), (value for each in intervals for value in each), strict=True))


def _interval(values: pd.Series, n_resamples: int, seed: int) -> Interval:
    judged = values[np.isfinite(values)]
    if judged.empty:
        return _NOT_MEASURED
    prompts = judged.index.get_level_values("prompt_id").to_numpy()
    return bootstrap_mean(judged.to_numpy(), prompts, n_resamples, seed)


def has_categories(table: pd.DataFrame) -> bool:
    """Tell whether the prompts have more than one category."""
    return table["category"].nunique() > 1


def measures(table: pd.DataFrame) -> list[str]:
    """List the measures of a table from `category_scores`."""
    return [column.removesuffix("_gain") for column in table.columns if column.endswith("_gain")]
