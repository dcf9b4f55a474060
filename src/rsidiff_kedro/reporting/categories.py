"""Results by category of the test prompts (a style, a challenge, a number of objects), as benchmarks report them."""

import math
from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd

from rsidiff_kedro.errors import InputError
from rsidiff_kedro.statistics.bootstrap import Interval, bootstrap_mean
from rsidiff_kedro.untrusted.text import printable

ACCURACY = "prompt_accuracy"
REWARD = "reward/"
PAIR = ["prompt_id", "sample_index"]
ENDS = ("", "_low", "_high", "_gain", "_gain_low", "_gain_high")
_NOT_MEASURED = Interval(math.nan, math.nan, math.nan)


class OtherPromptsError(InputError):
    """Rounds that were tested on different prompts cannot be compared."""


def category_scores(
    prompts: pd.DataFrame, test_scores: Sequence[pd.DataFrame], rewards: Sequence[str], n_resamples: int, seed: int
) -> pd.DataFrame:
    """A row a round and category: how many prompts and images, and each measure's mean with its 95 % interval.

    The measures are the judge's accuracy (`prompt_accuracy`), where there is a judge, and `reward/<name>`. Each has the
    columns `ENDS`: mean, low, high, and of the paired difference to the base on the same prompts and seeds, gain,
    gain_low, gain_high. Intervals are bootstrapped over prompts and samples; NaN where nothing was measured.

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
    """Whether the prompts carry more than one category."""
    return table["category"].nunique() > 1


def category_html(table: pd.DataFrame) -> str:
    """An HTML table: categories down; of each measure the base, the last round and the change across.

    A change whose interval leaves zero out is bold and green, or red if it is a loss.

    Args:
        table: of `category_scores`.
    """
    measures, last = _measures(table), int(table["round"].max())
    head = "".join(f'<th scope="colgroup" colspan="3">{escape(_label(measure))}</th>' for measure in measures)
    below = f'<th scope="col">base</th><th scope="col">round {last}</th><th scope="col">change</th>' * len(measures)
    base, final = (table[table["round"] == number].set_index("category") for number in (0, last))
    body = ""
    for category, row in final.iterrows():
        cells = "".join(_cells(measure, base.loc[category], row) for measure in measures)
        counts = "".join(f"<td>{int(row[name])}</td>" for name in ("n_prompts", "n_images"))
        body += f'<tr><th scope="row">{escape(str(category) or "none")}</th>{counts}{cells}</tr>'
    return (
        '<table class="categories"><thead><tr><th scope="col" rowspan="2">category</th>'
        '<th scope="col" rowspan="2">prompts</th><th scope="col" rowspan="2">images</th>'
        f"{head}</tr><tr>{below}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cells(measure: str, base: pd.Series, last: pd.Series) -> str:
    gain, low, high = (last[f"{measure}_gain{end}"] for end in ("", "_low", "_high"))
    sure = "" if math.isnan(gain) or low <= 0 <= high else "right" if gain > 0 else "wrong"
    before, now = _with_interval(base, measure, ""), _with_interval(last, measure, "")
    return f'<td>{before}</td><td>{now}</td><td class="{sure}">{_with_interval(last, f"{measure}_gain", "+")}</td>'


def _with_interval(row: pd.Series, name: str, sign: str) -> str:
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    if math.isnan(value):
        return "not measured"
    form = f"{sign}.3f" if name.startswith(ACCURACY) else f"{sign}.4g"  # rewards have any scale
    return f"<span>{value:{form}}</span><br><small>{low:{form}} … {high:{form}}</small>"


def category_text(table: pd.DataFrame) -> list[str]:
    """Lines of plain text with the same: a line a category with the first measure of the base and the last round.

    Args:
        table: of `category_scores`.
    """
    measures, last = _measures(table), int(table["round"].max())
    if not measures or not has_categories(table):
        return []
    measure = measures[0]
    base = table[table["round"] == 0].set_index("category")[measure]
    final = table[table["round"] == last]
    names = [printable(str(category)) or "none" for category in final["category"]]
    width = max(map(len, names))
    lines = [f"By category, {_label(measure)} of the base and of round {last}:"]
    for name, (_, row) in zip(names, final.iterrows(), strict=True):
        gain, low, high = (row[f"{measure}_gain{end}"] for end in ("", "_low", "_high"))
        lines.append(
            f"  {name:{width}} {row['n_prompts']:5d} prompts {base[row['category']]:7.3f} "
            f"{row[measure]:7.3f}   {gain:+.3f} [{low:+.3f}, {high:+.3f}]"
        )
    return lines


def _measures(table: pd.DataFrame) -> list[str]:
    return [column.removesuffix("_gain") for column in table.columns if column.endswith("_gain")]


def _label(measure: str) -> str:
    return "judged accuracy" if measure == ACCURACY else f"reward {measure.removeprefix(REWARD)}"
