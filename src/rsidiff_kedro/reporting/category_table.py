"""Show results by category, as HTML and as lines of text."""

import math
from typing import NamedTuple

import pandas as pd
from markupsafe import Markup

from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.evaluation.categories import ACCURACY, REWARD, has_categories, measures
from rsidiff_kedro.evaluation.intervals import Interval
from rsidiff_kedro.reporting.render import render


class _Cell(NamedTuple):
    value: str
    interval: str
    verdict: str = ""


def category_html(table: pd.DataFrame) -> Markup:
    """Return an HTML table of the base, the last round and the change in each category; empty without categories.

    A change whose interval excludes zero is green, or red if it is a loss.

    Args:
        table: from `category_scores`.
    """
    if not has_categories(table):
        return Markup("")
    names, last = measures(table), int(table["round"].max())
    base, final = (table[table["round"] == number].set_index("category") for number in (0, last))
    rows = [
        {
            "name": str(category) or "none",
            "prompts": int(row["n_prompts"]),
            "images": int(row["n_images"]),
            "cells": [cell for name in names for cell in _cells(name, base.loc[category], row)],
        }
        for category, row in final.iterrows()
    ]
    return render("categories", measures=[_label(name) for name in names], last=last, rows=rows)


def _cells(measure: str, base: pd.Series, last: pd.Series) -> list[_Cell]:
    gain, low, high = (last[f"{measure}_gain{end}"] for end in ("", "_low", "_high"))
    verdict = "" if not (low > 0 or high < 0) else "right" if gain > 0 else "wrong"
    change = _cell(last, f"{measure}_gain", "+")._replace(verdict=verdict)
    return [_cell(base, measure, ""), _cell(last, measure, ""), change]


def _cell(row: pd.Series, name: str, sign: str) -> _Cell:
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    if math.isnan(value):
        return _Cell("", "")
    form = f"{sign}.3f" if name.startswith(ACCURACY) else f"{sign}.4g"  # rewards have any scale
    return _Cell(f"{value:{form}}", "no interval" if math.isnan(low) else f"{low:{form}} … {high:{form}}")


def category_text(table: pd.DataFrame) -> list[str]:
    """Return one line per category with the first measure of the base and the last round; none without categories.

    Args:
        table: from `category_scores`.
    """
    names, last = measures(table), int(table["round"].max())
    if not names or not has_categories(table):
        return []
    measure = names[0]
    base = table[table["round"] == 0].set_index("category")[measure]
    final = table[table["round"] == last]
    labels = [printable(str(category)) or "none" for category in final["category"]]
    width = max(map(len, labels))
    lines = [f"By category, {_label(measure)} of the base and of round {last}:"]
    for label, (_, row) in zip(labels, final.iterrows(), strict=True):
        gain = Interval(*(row[f"{measure}_gain{end}"] for end in ("", "_low", "_high")))
        lines.append(
            f"  {label:{width}} {row['n_prompts']:5d} prompts {base[row['category']]:7.3f} "
            f"{row[measure]:7.3f}   {gain.mean:+.3f} {gain}"
        )
    return lines


def _label(measure: str) -> str:
    return "judged accuracy" if measure == ACCURACY else f"reward {measure.removeprefix(REWARD)}"
