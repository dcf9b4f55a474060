"""Show results by category, as HTML and as lines of text."""

import math
from collections.abc import Collection

import pandas as pd
from markupsafe import Markup

from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.evaluation.categories import ACCURACY, REWARD, has_categories, measures
from rsidiff_kedro.evaluation.intervals import Interval
from rsidiff_kedro.reporting.labels import reward_label
from rsidiff_kedro.reporting.render import render


def category_html(table: pd.DataFrame, selecting: Collection[str] | None = None) -> Markup:
    """Show `category_scores` of the base, the last round and the change as an HTML table; empty without categories.

    A change whose interval excludes zero is green, or red if it is a loss. `selecting` are the rewards that select.
    """
    if not has_categories(table):
        return Markup("")
    names, last = measures(table), int(table["round"].max())
    base, final = (table[table["round"] == number].set_index("category") for number in (0, last))
    rows = []
    for category, row in final.iterrows():
        cells = []
        for name in names:
            cells += [_cell(base.loc[category], name), _cell(row, name), _cell(row, f"{name}_gain", "+")]
        counts = {"prompts": int(row["n_prompts"]), "images": int(row["n_images"])}
        rows.append({"name": str(category) or "none", "cells": cells, **counts})
    return render("categories", measures=[_label(name, selecting) for name in names], last=last, rows=rows)


def _interval(row: pd.Series, name: str) -> Interval:
    return Interval(*(float(row[f"{name}{end}"]) for end in ("", "_low", "_high")))


def _cell(row: pd.Series, name: str, sign: str = "") -> dict[str, str]:
    found = _interval(row, name)
    if math.isnan(found.mean):
        return {"value": "", "interval": "", "verdict": ""}
    form = f"{sign}.3f" if name.startswith(ACCURACY) else f"{sign}.4g"  # rewards have any scale
    interval = "no interval" if math.isnan(found.low) else f"{found.low:{form}} … {found.high:{form}}"
    verdict = ("right" if found.mean > 0 else "wrong") if sign and found.excludes_zero else ""
    return {"value": f"{found.mean:{form}}", "interval": interval, "verdict": verdict}


def category_text(table: pd.DataFrame, selecting: Collection[str] | None = None) -> list[str]:
    """Show the first measure of `category_scores` in one line per category; none without categories."""
    names, last = measures(table), int(table["round"].max())
    if not names or not has_categories(table):
        return []
    base, final = (table[table["round"] == number].set_index("category") for number in (0, last))
    labels = [printable(str(category)) or "none" for category in final.index]
    width = max(map(len, labels))
    lines = [f"By category, {_label(names[0], selecting)} of the base and of round {last}:"]
    for label, (category, row) in zip(labels, final.iterrows()):
        gain = _interval(row, f"{names[0]}_gain")
        lines.append(
            f"  {label:{width}} {int(row['n_prompts']):5d} prompts {base.at[category, names[0]]:7.3f} "
            f"{row[names[0]]:7.3f}   {gain.mean:+.3f} {gain}"
        )
    return lines


def _label(measure: str, selecting: Collection[str] | None) -> str:
    if measure == ACCURACY:
        return "judged accuracy"
    return f"reward {reward_label(measure.removeprefix(REWARD), selecting)}"
