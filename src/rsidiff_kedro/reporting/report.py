"""Write the report: figures, metrics and gallery in one HTML file that needs no network."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go
import plotly.io as pio
from markupsafe import Markup

from rsidiff_kedro.evaluation.intervals import Interval
from rsidiff_kedro.reporting.figures import Metrics, intervals_of, rejected_rounds
from rsidiff_kedro.reporting.render import render


def report_html(
    figures: Sequence[go.Figure], rounds: Sequence[Metrics], gallery: Markup, summary: str, by_category: Markup
) -> str:
    """Return one HTML page with everything in it, plotly.js and images too.

    `rounds` are all metrics, the base first. The rest is from `gallery_html`, `summary_text` and `category_html`.
    """
    config = {"displayModeBar": False, "responsive": True}
    plots = [
        pio.to_html(figure, config=config, full_html=False, include_plotlyjs=not index, div_id=f"figure-{index}")
        for index, figure in enumerate(figures)
    ]
    return render(
        "report",
        rounds=len(rounds) - 1,
        summary=summary,
        rejected=bool(rejected_rounds(rounds)),
        plots=plots,
        categories=by_category,
        gallery=gallery,
        metrics=metrics_table(rounds),
    )


def metrics_table(rounds: Sequence[Metrics]) -> Markup:
    """Return an HTML table with one row per metric and one column per round, with intervals."""
    keys = {key for metrics in rounds for key in metrics}
    ends = {f"{key}{end}" for key in keys for end in ("_low", "_high")}
    rows = [(key, list(map(_cell, intervals_of(rounds, key)))) for key in sorted(keys - ends)]
    return render("metrics", count=len(rounds), rows=rows)


def _cell(found: Interval) -> dict[str, str]:
    interval = "" if math.isnan(found.low) or math.isnan(found.high) else f"{found.low:.3f} … {found.high:.3f}"
    return {"value": "not measured" if math.isnan(found.mean) else f"{found.mean:.4g}", "interval": interval}
