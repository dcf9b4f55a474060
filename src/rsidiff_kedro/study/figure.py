"""Plot the measures of a study over rounds."""

from collections.abc import Collection, Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsidiff_kedro.core.files import replacing
from rsidiff_kedro.study.statistics import Estimate

Curves = Mapping[str, Mapping[int, Estimate]]
"""By arm, then by round."""
MARKERS = "osD^vPX*"
"""They tell lines apart in gray too."""


def save_figure(path: Path, panels: Mapping[str, Curves], flat: Collection[str] = ()) -> None:
    """Write a PNG file with a panel per measure: a line per arm over rounds, with a band for its 95 % interval.

    Args:
        path: of the file.
        panels: the curves by the measure's label.
        flat: arms without rounds of their own, shown by a horizontal line at their last value.
    """
    figure = Figure(figsize=(4.6 * len(panels), 3.4), layout="constrained")
    for number, (label, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), number + 1)
        _plot(axes, curves, flat)
        axes.set(title=label, xlabel="round (0 is the base)")
        axes.grid(visible=True, alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=100, format="png")


def _plot(axes: Axes, curves: Curves, flat: Collection[str]) -> None:
    longest = max(max(rounds) for rounds in curves.values())
    for number, (arm, rounds) in enumerate(curves.items()):
        color = f"C{number % 10}"
        if arm in flat:
            last = rounds[max(rounds)]
            axes.axhline(last.value, label=arm, color=color, linestyle="--")
            axes.axhspan(last.low, last.high, color=color, alpha=0.12, linewidth=0)
            continue
        marker = MARKERS[number % len(MARKERS)]
        axes.plot([*rounds], [each.value for each in rounds.values()], label=arm, color=color, marker=marker)
        lows, highs = ([getattr(each, end) for each in rounds.values()] for end in ("low", "high"))
        axes.fill_between([*rounds], lows, highs, color=color, alpha=0.15, linewidth=0)
    axes.set_xticks(range(0, longest + 1, max(1, longest // 6)))
