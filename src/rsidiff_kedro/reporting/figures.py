"""Plot rounds with plotly: one point per round, with the interval from the metrics."""

import math
from collections.abc import Collection, Mapping, Sequence
from html import escape

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from rsidiff_kedro.reporting.labels import reward_label
from rsidiff_kedro.reporting.values import (
    REWARD_PREFIX,
    Metrics,
    intervals_of,
    is_measured,
    rejected_rounds,
    reward_names,
    untested_rounds,
)

COLORS = ("#3b5bdb", "#e8590c", "#2b8a3e", "#ae3ec9", "#0c8599", "#c2255c")
"""One per line; markers tell them apart in gray too."""
GRAY = "#868e96"
ROUND = "round (0 is the base model)"
_DASHES = ("solid", "dash", "dot")
_MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star")


def accuracy_figure(*rounds: Metrics) -> go.Figure:
    """Plot the judge's accuracy on the test prompts in each round."""
    keys = {"test/prompt_accuracy": "everything right", "test/attribute_accuracy": "attributes right"}
    return _figure(rounds, keys, "Accuracy on the test prompts, by the judge", "share of images", as_share=True)


def hallucination_rate_figure(*rounds: Metrics) -> go.Figure:
    """Plot how often the judge found forms that are malformed or not asked for."""
    keys = {"test/hallucination_rate": "hallucination rate"}
    return _figure(rounds, keys, "Hallucinations on the test prompts, by the judge", "share of images", as_share=True)


def reward_figure(*rounds: Metrics, selecting: Collection[str] | None = None) -> go.Figure:
    """Plot every reward's mean on the test prompts in each round, each on an axis of its own.

    `selecting` are the rewards that select samples; None for unknown.
    """
    names = reward_names(rounds)
    if not names:
        return _figure(rounds, {f"{REWARD_PREFIX}<name>": ""}, "Reward on the test prompts", "mean reward")
    titles = [escape(reward_label(name, selecting)) for name in names]  # plotly reads some HTML
    figure = make_subplots(rows=len(names), subplot_titles=titles, shared_xaxes=True, vertical_spacing=0.2 / len(names))
    for row, name in enumerate(names):
        figure.add_trace(_trace(rounds, f"{REWARD_PREFIX}{name}", escape(name), row), row=row + 1, col=1)
    figure.update_xaxes(dtick=_tick(len(rounds)))
    figure.update_xaxes(title=ROUND, row=len(names), col=1)
    return _styled(figure, "Reward on the test prompts").update_layout(showlegend=False, height=180 + 200 * len(names))


def reward_figures(rounds: Sequence[Metrics], selecting: Collection[str]) -> list[go.Figure]:
    """Plot each reward's mean on the test prompts by itself, those that select first."""
    names = sorted(reward_names(rounds), key=lambda name: name not in selecting)
    return [
        _figure(rounds, {f"{REWARD_PREFIX}{name}": ""}, f"Reward {reward_label(name, selecting)}", "mean reward")
        for name in names
    ]


def win_rate_figure(rounds: Sequence[Metrics], selecting: Collection[str]) -> go.Figure:
    """Plot how often a round's image has the higher reward than the base's of the same prompt and seed."""
    keys = {f"test/win_rate_over_base/{name}": reward_label(name, selecting) for name in reward_names(rounds)}
    figure = _figure(rounds, keys, "Win rate over the base, by reward", "share of pairs", as_share=True)
    return figure.add_hline(0.5, line={"dash": "dot", "width": 1, "color": GRAY})


def reward_gap_figure(rounds: Sequence[Metrics]) -> go.Figure:
    """Plot how much more what selects has gained over the base than what is held out."""
    keys = {"test/reward_gap": "gap"}
    title = "Gap between what selects and what is held out"
    return _figure(rounds, keys, title, "standard deviations").add_hline(0, line={"width": 1, "color": GRAY})


def diversity_figure(*rounds: Metrics) -> go.Figure:
    """Plot the diversity within a prompt in each round."""
    figure = _figure(rounds, {"test/diversity": "diversity"}, "Diversity within a test prompt", "diversity")
    return figure.update_yaxes(rangemode="tozero")


def distance_figure(rounds: Sequence[Metrics]) -> go.Figure:
    """Plot the distance of the test images' distribution to the base's."""
    title = "Distance of the test images to the base's"
    return _figure(rounds, {"test/distance_to_base": "distance"}, title, "Fréchet distance")


def loss_figure(*logs: pd.DataFrame) -> go.Figure:
    """Plot each round's training loss, smoothed; `logs` are training logs from round 1 on."""
    figure = go.Figure()
    for index, log in enumerate(logs):
        smooth = log["loss"].rolling(max(1, len(log) // 10), min_periods=1).mean()
        line = {"color": COLORS[index % len(COLORS)], "width": 1.5, "dash": _DASHES[index // len(COLORS) % 3]}
        name = f"round {index + 1}"
        figure.add_trace(go.Scatter(x=log["step"].tolist(), y=smooth.tolist(), name=name, mode="lines", line=line))
    figure.update_layout(xaxis_title="step", yaxis_title="weighted loss", showlegend=True)
    return _styled(figure, "Training loss, a moving average over a tenth of the steps")


def training_figure(log: pd.DataFrame, title: str) -> go.Figure:
    """Plot the training loss at each step; `log` has the columns step and loss."""
    line = go.Scatter(x=log["step"].tolist(), y=log["loss"].tolist(), mode="lines", line_color=COLORS[0])
    return _styled(go.Figure(line).update_layout(xaxis_title="step", yaxis_title="weighted loss"), title)


def _figure(
    rounds: Sequence[Metrics], keys: Mapping[str, str], title: str, y_title: str, as_share: bool = False
) -> go.Figure:
    """Plot one line per metric; write a note if none of them was measured."""
    figure = go.Figure()
    measured = [key for key in keys if is_measured(rounds, key)]
    for index, key in enumerate(measured):
        figure.add_trace(_trace(rounds, key, escape(keys[key]), index))  # plotly reads some HTML
    figure.update_layout(yaxis_title=y_title, showlegend=len(measured) > 1)
    figure.update_xaxes(title=ROUND, dtick=_tick(len(rounds)))
    if as_share:
        figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    if not measured:
        text = "not measured:<br>" + escape(", ".join(keys))
        figure.add_annotation(text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False)
        figure.update_xaxes(visible=False).update_yaxes(visible=False)
    return _styled(figure, escape(title))


def _trace(rounds: Sequence[Metrics], key: str, label: str, index: int) -> go.Scatter:
    """Return the metric's line with error bars; markers are hollow where the gate kept the earlier adapter.

    A round that was not tested has no marker.
    """
    found, numbers, rejected = intervals_of(rounds, key), range(len(rounds)), rejected_rounds(rounds)
    marker = _MARKERS[index % len(_MARKERS)]
    line = go.Scatter(
        x=list(numbers),
        y=[each.mean for each in found],
        name=label,
        mode="lines+markers",
        line={"color": COLORS[index % len(COLORS)], "width": 2},
        marker={"symbol": [f"{marker}-open" if n in rejected else marker for n in numbers], "size": 9},
        connectgaps=True if untested_rounds(rounds) else None,
        hovertext=["base" if n == 0 else "gate: rejected" if n in rejected else "" for n in numbers],
    )
    if is_measured(rounds, f"{key}_low") and is_measured(rounds, f"{key}_high"):
        line.error_y = {
            "type": "data",
            "symmetric": False,
            "array": [each.high - each.mean for each in found],
            "arrayminus": [each.mean - each.low for each in found],
            "thickness": 1.2,
            "width": 4,
        }
    return line


def _tick(count: int) -> int:
    """Return the step between numbers on the axis: every round, or about fifteen of them."""
    return max(1, math.ceil(count / 15))


def _styled(figure: go.Figure, title: str) -> go.Figure:
    return figure.update_layout(
        title=title,
        template="simple_white",
        height=380,
        margin={"l": 60, "r": 20, "t": 60, "b": 50},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        font={"family": "system-ui, sans-serif"},
    )
