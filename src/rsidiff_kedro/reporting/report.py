"""Write the report: figures, metrics and gallery in one HTML file that needs no network."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go
import plotly.io as pio
from markupsafe import Markup

from rsidiff_kedro.reporting.figures import Metrics, rejected_rounds, values_of
from rsidiff_kedro.reporting.render import render

_KEY_ENDS = ("_low", "_high")


def report_html(
    figures: Sequence[go.Figure], rounds: Sequence[Metrics], gallery: Markup, summary: str, by_category: Markup
) -> str:
    """Return one HTML page with everything in it, plotly.js and images too.

    Args:
        figures: shown in this order.
        rounds: every round's metrics, the base first.
        gallery: from `gallery_html`.
        summary: plain text, from `summary_text`.
        by_category: from `category_html`; empty where the prompts have no categories.
    """
    return render(
        "report",
        rounds=len(rounds) - 1,
        summary=summary,
        rejected=bool(rejected_rounds(rounds)),
        plots=[_plot(figure, index) for index, figure in enumerate(figures)],
        categories=by_category,
        gallery=gallery,
        metrics=metrics_table(rounds),
    )


def _plot(figure: go.Figure, index: int) -> str:
    """Return the figure's HTML; plotly.js comes with the first."""
    config = {"displayModeBar": False, "responsive": True}
    return pio.to_html(figure, config=config, full_html=False, include_plotlyjs=index == 0, div_id=f"figure-{index}")


class _Cell(NamedTuple):
    value: str
    interval: str


def metrics_table(rounds: Sequence[Metrics]) -> Markup:
    """Return an HTML table with one row per metric and one column per round, with intervals."""
    keys = sorted({key for metrics in rounds for key in metrics})
    shown = [key for key in keys if not (key.endswith(_KEY_ENDS) and key.rpartition("_")[0] in keys)]
    rows = [(key, [_cell(*ends) for ends in zip(*_ends(rounds, key), strict=True)]) for key in shown]
    return render("metrics", count=len(rounds), rows=rows)


def _ends(rounds: Sequence[Metrics], key: str) -> list[list[float]]:
    return [values_of(rounds, f"{key}{end}") for end in ("", *_KEY_ENDS)]


def _cell(value: float, low: float, high: float) -> _Cell:
    if math.isnan(value):
        return _Cell("not measured", "")
    return _Cell(f"{value:.4g}", "" if math.isnan(low) or math.isnan(high) else f"{low:.3f} … {high:.3f}")
