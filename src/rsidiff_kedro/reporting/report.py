"""The report: figures, metrics and gallery in one HTML file that needs no network."""

import math
from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go
import plotly.io as pio

from rsidiff_kedro.reporting.figures import Metrics, rejected_rounds, values_of

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #212529; background: #fff; max-width: 1200px; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
pre { background: #f8f9fa; padding: 1rem; overflow-x: auto; font-size: .85rem; border-left: 3px solid #3b5bdb; }
.figures { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1rem; }
@media (min-width: 900px) { .figures { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid #dee2e6; white-space: nowrap; }
tbody th { text-align: left; font-weight: 500; }
.gallery th, .gallery td { text-align: center; vertical-align: top; }
.gallery tbody th { text-align: left; white-space: normal; min-width: 12rem; max-width: 18rem; }
.gallery thead th { position: sticky; top: 0; background: #fff; }
.gallery td { position: relative; } .gallery img { display: block; border-radius: 3px; }
.categories thead th { text-align: center; } .categories .right span, .categories .wrong span { font-weight: 700; }
.tiny { image-rendering: pixelated; }
.verdict { position: absolute; top: .5rem; right: .75rem; font-weight: 700; background: #fffc; border-radius: 3px;
  padding: 0 .25rem; line-height: 1.3; }
.right { color: #2b8a3e; } .wrong { color: #c92a2a; } small, .note { color: #6c757d; }
"""
_KEY_ENDS = ("_low", "_high")


def report_html(
    figures: Sequence[go.Figure], rounds: Sequence[Metrics], gallery: str, summary: str, by_category: str = ""
) -> str:
    """One HTML page with everything in it, plotly.js and images too.

    Args:
        figures: shown in this order.
        rounds: every round's metrics, the base first.
        gallery: HTML of `gallery_html`.
        summary: plain text of `summary_text`.
        by_category: HTML of `category_html`; empty where the prompts have no categories.
    """
    categories = _categories(by_category) if by_category else ""
    plots = "".join(f"<div>{_plot(figure, index)}</div>" for index, figure in enumerate(figures))
    rejected = rejected_rounds(rounds)
    hollow = " Hollow: the gate turned the candidate away and the adapter before went on." if rejected else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>RSIDiff: {len(rounds) - 1} rounds</title><style>{_STYLE}</style></head><body>
<h1>Recursive self-improvement, {len(rounds) - 1} rounds</h1>
<p class="note">Every round draws the same test prompts with the same seeds; round 0 is the base model.</p>
<pre>{escape(summary)}</pre>
<h2>Rounds</h2><p class="note">Bars are 95&nbsp;% bootstrap intervals over prompts.{hollow}</p>
<div class="figures">{plots}</div>
{categories}
<h2>Gallery</h2><p class="note">Prompts spread evenly over the test set, the first sample of each; nobody picked them.
✓ and ✗ are the judge's verdict, where there is one.</p>
<div class="scroll">{gallery}</div>
<h2>Metrics</h2><div class="scroll">{metrics_table(rounds)}</div>
</body></html>
"""


def _categories(table: str) -> str:
    return f"""<h2>Categories</h2><p class="note">Means over each category's test prompts, with 95&nbsp;% bootstrap
intervals. The change is paired by prompt and seed; in color where its interval leaves zero out.</p>
<div class="scroll">{table}</div>
"""


def _plot(figure: go.Figure, index: int) -> str:
    """The figure's HTML; plotly.js comes with the first."""
    config = {"displayModeBar": False, "responsive": True}
    return pio.to_html(figure, config=config, full_html=False, include_plotlyjs=index == 0, div_id=f"figure-{index}")


def metrics_table(rounds: Sequence[Metrics]) -> str:
    """An HTML table of every metric: a row a metric with its interval, a column a round."""
    keys = sorted({key for metrics in rounds for key in metrics})
    shown = [key for key in keys if not (key.endswith(_KEY_ENDS) and key.rpartition("_")[0] in keys)]
    head = "".join(f'<th scope="col">{number or "base"}</th>' for number in range(len(rounds)))
    rows = "".join(_metric_row(rounds, key) for key in shown)
    return f'<table><thead><tr><th scope="col">metric</th>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _metric_row(rounds: Sequence[Metrics], key: str) -> str:
    values, lows, highs = (values_of(rounds, f"{key}{end}") for end in ("", *_KEY_ENDS))
    cells = [_cell(*row) for row in zip(values, lows, highs, strict=True)]
    return f'<tr><th scope="row">{escape(key)}</th>{"".join(cells)}</tr>'


def _cell(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return "<td>not measured</td>"
    interval = "" if math.isnan(low) or math.isnan(high) else f"<br><small>{low:.3f} … {high:.3f}</small>"
    return f"<td>{value:.4g}{interval}</td>"
