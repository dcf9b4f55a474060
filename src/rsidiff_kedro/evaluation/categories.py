"""Compute results by category of the test prompts, such as a style or a number of objects."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.pairs import paired
from rsidiff_kedro.evaluation.metrics import with_intervals

ACCURACY = "prompt_accuracy"
REWARD = "reward/"


class OtherPromptsError(InputError):
    """Rounds that were tested on different prompts, and so cannot be compared."""


def category_scores(
    prompts: pd.DataFrame,
    test_scores: Sequence[pd.DataFrame],
    rewards: Sequence[str],
    n_resamples: int,
    seed: int,
    tested: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Return one row per round and category: its number of prompts and images, and each measure's mean and interval.

    The measures are the judge's accuracy (`prompt_accuracy`), where there is a judge, and `reward/<name>`. Each has the
    columns `ENDS`: the mean with its 95 % interval (low, high), and the paired difference to the base on the same
    prompts and seeds with its interval (gain, gain_low, gain_high). NaN means that nothing was measured.
    `test_scores` are the tables of the rounds `tested`, the base first; None for 0, 1, ….

    Raises:
        OtherPromptsError: a round was tested on other prompts.
        UnpairedError: a round was tested with another number of samples.
    """
    numbers = range(len(test_scores)) if tested is None else tested
    for number, scores in zip(numbers, test_scores, strict=True):
        if set(scores["prompt_id"]) != set(prompts["prompt_id"]):
            raise OtherPromptsError(
                f"round {number} was tested on other prompts than test_prompts has, as by a run with other parameters; "
                "run all stages, with --only-missing-outputs to keep what is valid"
            )
    columns = {"correct": ACCURACY} if "correct" in test_scores[0] else {}
    columns |= {name: f"{REWARD}{name}" for name in rewards}
    names = [f"{measure}{end}" for measure in columns.values() for end in ("", "_gain")]
    categories = prompts.set_index("prompt_id")["category"]
    rows = []
    for number, scores in zip(numbers, test_scores, strict=True):
        both = paired(test_scores[0], scores)
        base, ours = (each[list(columns)].astype(float).rename(columns=columns) for each in both)
        gains = (ours - base).add_suffix("_gain")
        values = pd.concat([ours, gains], axis=1)[names]
        for category, part in values.groupby(values.index.get_level_values("prompt_id").map(categories)):
            ids = part.index.get_level_values("prompt_id").to_numpy()
            judged = {name: (each[np.isfinite(each)].to_numpy(), ids[np.isfinite(each)]) for name, each in part.items()}
            row = {"round": number, "category": category, "n_prompts": len(set(ids)), "n_images": len(part)}
            rows.append(row | with_intervals(judged, n_resamples, seed))
    return pd.DataFrame(rows)


def has_categories(table: pd.DataFrame) -> bool:
    """Tell whether the prompts have more than one category."""
    return table["category"].nunique() > 1


def measures(table: pd.DataFrame) -> list[str]:
    """List the measures of a table from `category_scores`."""
    return [column for column in table.columns if f"{column}_gain" in table.columns]
