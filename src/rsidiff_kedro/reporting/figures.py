"""Plot rounds with plotly: one point per round, with the interval from the metrics."""

import math
from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from rsidiff_kedro.evaluation.intervals import Interval

Metrics = Mapping[str, float | None]
"""A round's metrics by name; `<name>_low` and `<name>_high`, if present, are the interval's ends."""

REWARD_PREFIX = "test/reward/"
COLORS = ("#3b5bdb", "#e8590c", "#2b8a3e", "#ae3ec9", "#0c8599", "#c2255c")
"""One per line; markers tell them apart in gray too."""
_MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star")


def accuracy_figure(*rounds: Metrics) -> go.Figure:
    """Plot the judge's accuracy on the test prompts in each round."""
    keys = {"test/prompt_accuracy": "everything right", "test/attribute_accuracy": "attributes right"}
    return _figure(rounds, keys, "Accuracy on the test prompts, by the judge", "share of images", as_share=True)


def reward_figure(*rounds: Metrics) -> go.Figure:
    """Plot every reward's mean on the test prompts in each round."""
    keys = {f"{REWARD_PREFIX}{name}": escape(name) for name in reward_names(rounds)}  # plotly reads some HTML
    return _figure(rounds, keys, "Reward on the test prompts", "mean reward")


def hallucination_rate_figure(*rounds: Metrics) -> go.Figure:
    """Plot how often the judge found forms that are malformed or not asked for."""
    keys = {"test/hallucination_rate": "hallucination rate"}
    title = "Hallucinations on the test prompts, by the judge"
    return _figure(rounds, keys, title, "share of images", as_share=True).update_layout(showlegend=False)


def diversity_figure(*rounds: Metrics) -> go.Figure:
    """Plot the diversity within a prompt, and beside it the distance of the images' distribution to the base's."""
    figure = make_subplots(cols=2, subplot_titles=("Diversity within a prompt", "Distance to the base's images"))
    for column, (key, x) in enumerate((("test/diversity", 0.15), ("test/distance_to_base", 0.85))):
        if _is_measured(rounds, key):
            trace = _trace(rounds, key, key.removeprefix("test/"), column)
            figure.add_trace(trace.update(showlegend=False), row=1, col=column + 1)
        else:
            _say_not_measured(figure, [key], x)
    figure.update_xaxes(title="round", dtick=_tick(len(rounds)))
    return _styled(figure, "Diversity on the test prompts")


def training_figure(log: pd.DataFrame, title: str) -> go.Figure:
    """Plot the training loss at each step; `log` has the columns step and loss."""
    line = go.Scatter(x=log["step"].tolist(), y=log["loss"].tolist(), mode="lines", line_color=COLORS[0])
    return _styled(go.Figure(line).update_layout(xaxis_title="step", yaxis_title="weighted loss"), title)


def reward_names(rounds: Sequence[Metrics]) -> list[str]:
    """List the rewards that the metrics report on the test prompts, in order of their names."""
    keys = {key for metrics in rounds for key in metrics if key.startswith(REWARD_PREFIX)}
    ends = {f"{key}{end}" for key in keys for end in ("_low", "_high")}
    return sorted(key.removeprefix(REWARD_PREFIX) for key in keys - ends)


def values_of(rounds: Sequence[Metrics], key: str) -> list[float]:
    """Return the metric in each round; NaN where it was not measured."""
    found = [metrics.get(key) for metrics in rounds]
    return [math.nan if value is None else float(value) for value in found]


def intervals_of(rounds: Sequence[Metrics], key: str) -> list[Interval]:
    """Return the metric in each round with its interval; NaN where one was not measured."""
    return list(map(Interval, *(values_of(rounds, f"{key}{end}") for end in ("", "_low", "_high"))))


def rejected_rounds(rounds: Sequence[Metrics]) -> list[int]:
    """List the rounds whose candidate the gate rejected; the base has no gate."""
    return [number for number, value in enumerate(values_of(rounds, "gate/accepted")) if number and value == 0.0]


def _is_measured(rounds: Sequence[Metrics], key: str) -> bool:
    return not all(map(math.isnan, values_of(rounds, key)))


def _figure(
    rounds: Sequence[Metrics], keys: Mapping[str, str], title: str, y_title: str, as_share: bool = False
) -> go.Figure:
    """Plot one line per metric; write a note if none of them was measured."""
    figure = go.Figure()
    measured = [key for key in keys if _is_measured(rounds, key)]
    for index, key in enumerate(measured):
        figure.add_trace(_trace(rounds, key, keys[key], index))
    if not measured:
        _say_not_measured(figure, list(keys) or [f"{REWARD_PREFIX}<name>"])
    figure.update_layout(yaxis_title=y_title, showlegend=bool(measured))
    figure.update_xaxes(title="round (0 is the base model)", dtick=_tick(len(rounds)))
    if as_share:
        figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return _styled(figure, title)


def _trace(rounds: Sequence[Metrics], key: str, label: str, index: int) -> go.Scatter:
    """Return the metric's line with error bars; markers are hollow where the gate kept the earlier adapter."""
    found, numbers, rejected = intervals_of(rounds, key), range(len(rounds)), rejected_rounds(rounds)
    marker = _MARKERS[index % len(_MARKERS)]
    line = go.Scatter(
        x=list(numbers),
        y=[each.mean for each in found],
        name=label,
        mode="lines+markers",
        line={"color": COLORS[index % len(COLORS)], "width": 2},
        marker={"symbol": [f"{marker}-open" if n in rejected else marker for n in numbers], "size": 9},
        hovertext=["base" if n == 0 else "gate: rejected" if n in rejected else "" for n in numbers],
    )
    if _is_measured(rounds, f"{key}_low") and _is_measured(rounds, f"{key}_high"):
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


def _say_not_measured(figure: go.Figure, keys: Sequence[str], x: float = 0.5) -> None:
    """Write a note at this share of the figure's width; axes without data are hidden, so it cannot use theirs."""
    text = "not measured:<br>" + escape(", ".join(keys))
    figure.add_annotation(text=text, x=x, y=0.5, xref="paper", yref="paper", showarrow=False)


def _styled(figure: go.Figure, title: str) -> go.Figure:
    return figure.update_layout(
        title=title,
        template="simple_white",
        height=380,
        margin={"l": 60, "r": 20, "t": 60, "b": 50},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        font={"family": "system-ui, sans-serif"},
    )
