"""Write the report: one HTML file that needs no network, with figures, gallery, training samples, costs and metrics."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from markupsafe import Markup

from rsidiff_kedro.evaluation.collapse import CLEAR, DRIFT, KEPT, monitored_changes
from rsidiff_kedro.evaluation.intervals import Interval
from rsidiff_kedro.execution.run_facts import RunFacts
from rsidiff_kedro.reporting import figures
from rsidiff_kedro.reporting.labels import MEANINGS, diversity_meaning, metric_label, role
from rsidiff_kedro.reporting.render import render
from rsidiff_kedro.reporting.run_facts import command_html, value_html
from rsidiff_kedro.reporting.values import (
    TEST_PREFIX,
    Metrics,
    accepted_round,
    duration,
    gate_verdict,
    intervals_of,
    metric_names,
    rejected_rounds,
    reward_names,
    untested_rounds,
)


@dataclass(frozen=True)
class Contents:
    """Contents of a report; the page leaves out empty parts.

    Attributes:
        rounds: all metrics, the base first.
        summary: from `summary_text`.
        selecting: the rewards that select.
        gallery: from `gallery`.
        categories: from `category_html`.
        training: each round's `training_samples`, from round 1 on.
        funnel: from `funnel`.
        loss: from `loss_figure`.
        facts: of the run.
    """

    rounds: Sequence[Metrics]
    summary: str
    selecting: Collection[str]
    gallery: Mapping[str, Any]
    categories: Markup | None = None
    training: Sequence[Mapping[str, Any]] = ()
    funnel: Mapping[str, Any] = field(default_factory=dict)
    loss: go.Figure | None = None
    facts: RunFacts = field(default_factory=RunFacts)


def report_html(contents: Contents) -> str:
    """Return one HTML page with everything in it, plotly.js and images too."""
    rounds, names = contents.rounds, reward_names(contents.rounds)
    measured = metric_names(rounds)
    shown = [figure for figure in _figures(rounds, contents.selecting) if figure.data]
    plots = [_plot(figure, f"figure-{index}", index == 0) for index, figure in enumerate(shown)]
    loss = _plot(contents.loss, "figure-loss", not plots) if contents.loss is not None and contents.loss.data else None
    total = sum(contents.facts.seconds.values())
    return render(
        "report",
        rounds=len(rounds) - 1,
        summary=contents.summary,
        rewards=[(name, role(name, contents.selecting)) for name in names],
        judged="test/prompt_accuracy" in measured,
        rejected=rejected_rounds(rounds),
        verdicts=[gate_verdict(metrics) for metrics in rounds[1:]],
        untested=untested_rounds(rounds),
        diversity=diversity_meaning(rounds) if "test/diversity" in measured else "",
        plots=plots,
        loss=loss,
        categories=contents.categories,
        choices=sorted({row["category"] for row in contents.gallery["rows"]}),
        data={"gallery": contents.gallery, "training": list(contents.training)},
        funnel=contents.funnel,
        costs=[(name, duration(spent), spent / total) for name, spent in contents.facts.seconds.items()],
        total=duration(total),
        metrics=metrics_table(rounds, contents.selecting),
        collapse=collapse_rows(rounds, contents.selecting),
        gated=any("gate/accepted" in metrics for metrics in rounds),
        limits={"change": CLEAR, "drift": DRIFT, "diversity": KEPT},
        meanings=[(name, text) for name, text in MEANINGS.items() if f"test/{name}" in measured],
        facts=contents.facts,
        command=command_html(contents.facts.command),
        changed=[(name, *map(value_html, change)) for name, change in contents.facts.changed.items()],
        used=accepted_round(rounds),
    )


def _figures(rounds: Sequence[Metrics], selecting: Collection[str]) -> list[go.Figure]:
    return [
        figures.accuracy_figure(*rounds),
        figures.hallucination_rate_figure(*rounds),
        *figures.reward_figures(rounds, selecting),
        figures.win_rate_figure(rounds, selecting),
        figures.reward_gap_figure(rounds),
        figures.diversity_figure(*rounds),
        figures.distance_figure(rounds),
    ]


def _plot(figure: go.Figure, name: str, first: bool) -> dict[str, str]:
    """Return a figure's HTML and its title, which the page shows itself, because a caption wraps."""
    title = unescape(figure.layout.title.text)
    plain = go.Figure(figure).update_layout(
        title=None, height=300, margin={"l": 55, "r": 12, "t": 36, "b": 48}, autosize=True
    )
    plain.update_layout(paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)")
    config = {"displayModeBar": False, "responsive": True}
    html = pio.to_html(plain, config=config, full_html=False, include_plotlyjs=first, div_id=name)
    return {"title": title, "html": html}


def collapse_rows(rounds: Sequence[Metrics], selecting: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return a row per monitor of collapse: its change in each round from 1 on (None: not measured)."""
    changes = [
        {change.monitor: change for change in monitored_changes(rounds[: number + 1], selecting)}
        for number in range(1, len(rounds))
    ]
    monitors = dict.fromkeys(name for found in changes for name in found)
    return [{"name": name, "cells": [found.get(name) for found in changes]} for name in monitors]


def metrics_table(rounds: Sequence[Metrics], selecting: Collection[str] = ()) -> Markup:
    """Return an HTML table with one row per metric that was measured and one column per round, with intervals."""
    untested = untested_rounds(rounds)
    rows = [
        {
            "name": metric_label(key, selecting),
            "cells": [
                _cell(found, "not tested" if number in untested and key.startswith(TEST_PREFIX) else "not measured")
                for number, found in enumerate(intervals_of(rounds, key))
            ],
        }
        for key in metric_names(rounds)
    ]
    return render("metrics", count=len(rounds), rows=rows)


def _cell(found: Interval, missing: str) -> dict[str, str]:
    interval = "" if math.isnan(found.low) or math.isnan(found.high) else f"{found.low:.3f} … {found.high:.3f}"
    return {"value": missing if math.isnan(found.mean) else f"{found.mean:.4g}", "interval": interval}
