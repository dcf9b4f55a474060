"""Draws the README's pictures into docs/images from the runs that `benchmarks/study.py` left in data/study.

    python benchmarks/pictures.py curves      # accuracy and hallucinations over twelve rounds, method and naive
    python benchmarks/pictures.py strategies  # images of base, method and naive at the last round
    python benchmarks/pictures.py collapse    # the same after twelve rounds
    python benchmarks/pictures.py weights     # kept samples far from the distribution and near to it

In strategies and collapse an image's place is one prompt and one noise: with the base, at the method's last round, at
naive self-training's last. Evenly spaced test prompts are shown, none is picked by hand. What the judge finds wrong has
a red frame.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from arms import ROOT, Arm, bootstrap_over_seeds, evaluation, newest, training_samples
from matplotlib.axes import Axes
from PIL import Image, ImageDraw, ImageFont, ImageOps
from study import METHOD, METHOD_HARDER, METHOD_LONG, NAIVE, NAIVE_HARDER, NAIVE_LONG, SEEDS

from rsidiff_kedro.reporting.contact_sheet import contact_sheet

ARMS = {"strategies": (METHOD, NAIVE), "collapse": (METHOD_LONG, NAIVE_LONG)}
COLUMNS, ROWS = 12, 8
FRAME = 2
"""Pixels around an image, before it is enlarged."""


def first_samples(arm: Arm, seed: int, number: int, count: int) -> list[tuple[Image.Image, bool]]:
    """The first sample of evenly spaced test prompts, wrong ones in a red frame; and whether it is right."""
    folder = newest(arm.folder(seed), f"07_model_output/rsi/round_{number}/test_images")
    table = pd.read_parquet(folder / "metadata.parquet").query("sample_index == 0")
    chosen = table["image_id"].iloc[np.linspace(0, len(table) - 1, count).round().astype(int)]
    scores = pd.read_parquet(newest(arm.folder(seed), f"07_model_output/rsi/round_{number}/test_scores.parquet"))
    correct = scores.set_index("image_id")["correct"].astype(bool)
    images = [Image.open(folder / "images" / f"{image_id}.png").convert("RGB") for image_id in chosen]
    return [
        (ImageOps.expand(image, FRAME, "white" if correct[image_id] else "red"), bool(correct[image_id]))
        for image, image_id in zip(images, chosen, strict=True)
    ]


def panels(method: Arm, naive: Arm, seeds: Sequence[int]) -> Image.Image:
    """Three contact sheets side by side: base, method, naive; as many prompts of each seed."""
    shown = ((method, 0, "base"), (method, method.rounds, "method"), (naive, naive.rounds, "naive"))
    sheets = []
    for arm, number, title in shown:
        samples = [each for seed in seeds for each in first_samples(arm, seed, number, COLUMNS * ROWS // len(seeds))]
        name = title if number == 0 else f"{title}, round {number}"
        right = f"{sum(correct for _, correct in samples)} of {len(samples)} right"
        sheets.append(titled(contact_sheet([image for image, _ in samples], COLUMNS, 1.0), f"{name}: {right}"))
    return side_by_side(sheets)


def side_by_side(sheets: list[Image.Image]) -> Image.Image:
    """Sheets of one height in a row."""
    canvas = Image.new("RGB", (sum(sheet.width for sheet in sheets) + 2 * 16, sheets[0].height), "white")
    left = 0
    for sheet in sheets:
        canvas.paste(sheet, (left, 0))
        left += sheet.width + 16
    return canvas


def extremes(seed: int) -> Image.Image:
    """The method's kept samples farthest from the distribution and nearest to it, over all rounds.

    Weights fall with the distance; near it all are the same full weight.
    """
    table = training_samples(METHOD, [seed]).sort_values("distance", ascending=False, kind="stable")
    count = COLUMNS * ROWS
    sheets = []
    for title, rows in (("farthest: lowest weights", table.head(count)), ("nearest: full weight", table.tail(count))):
        images = []
        for row in rows.itertuples():
            folder = newest(METHOD.folder(seed), f"03_primary/rsi/round_{row.round}/images")
            image = Image.open(folder / "images" / f"{row.image_id}.png").convert("RGB")
            images.append(ImageOps.expand(image, FRAME, "white" if row.correct else "red"))
        sheets.append(titled(contact_sheet(images, COLUMNS, 1.5), title))
    return side_by_side(sheets)


def titled(sheet: Image.Image, title: str) -> Image.Image:
    """The sheet with a line of text above it."""
    canvas = Image.new("RGB", (sheet.width, sheet.height + 22), "white")
    ImageDraw.Draw(canvas).text((6, 4), title, fill="black", font=ImageFont.load_default(14))
    canvas.paste(sheet, (0, 22))
    return canvas


def curves(seeds: Sequence[int], path: Path) -> None:
    """Accuracy and hallucination rate by round with their 95 % intervals: the defaults and a larger learning rate."""
    figure, grid = plt.subplots(2, 2, figsize=(10, 6), sharex=True, sharey="row", layout="constrained")
    regimes = (("defaults", METHOD_LONG, NAIVE_LONG), ("learning rate 2e-3", METHOD_HARDER, NAIVE_HARDER))
    for column, (title, method, naive) in enumerate(regimes):
        for arm, name, color, marker in ((method, "method", "C0", "o"), (naive, "naive", "C1", "s")):
            table = evaluation(arm, seeds, "test")
            table["hallucinated"] = table["hallucinations"] > 0
            style = {"label": name, "color": color, "marker": marker}
            for row, verdict in enumerate(("correct", "hallucinated")):
                draw_rounds(grid[row, column], table, verdict, style)
        grid[0, column].set_title(title)
        grid[1, column].set_xlabel("round (0 is the base)")
    grid[0, 0].set_ylabel("accuracy")
    grid[1, 0].set_ylabel("hallucination rate")
    grid[0, 0].legend(loc="lower left")
    figure.savefig(path, dpi=80)


def draw_rounds(axes: Axes, table: pd.DataFrame, column: str, style: dict[str, str]) -> None:
    """A line over rounds, a band for its interval."""
    means = table.groupby(["round", "seed", "prompt_id"])[column].mean().rename("value").reset_index()
    intervals = [bootstrap_over_seeds(rows) for _, rows in means.groupby("round")]
    numbers = range(len(intervals))
    axes.plot(numbers, [interval.mean for interval in intervals], **style)
    lows, highs = [interval.low for interval in intervals], [interval.high for interval in intervals]
    axes.fill_between(numbers, lows, highs, color=style["color"], alpha=0.2, linewidth=0)
    axes.grid(visible=True, alpha=0.3)


def main() -> None:
    """Draw a picture."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("picture", choices=["curves", *ARMS, "weights"])
    options.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="weights shows the first")
    given = options.parse_args()
    path = ROOT / "docs" / "images" / f"{given.picture}.png"
    path.parent.mkdir(exist_ok=True)
    if given.picture == "curves":
        curves(given.seeds, path)
    elif given.picture == "weights":
        extremes(given.seeds[0]).save(path, optimize=True)
    else:
        panels(*ARMS[given.picture], given.seeds).save(path, optimize=True)


if __name__ == "__main__":
    main()
