"""Draws the README's pictures from the runs that `benchmarks/study.py` left in data/study.

    python benchmarks/pictures.py               # docs/images/strategies.png
    python benchmarks/pictures.py --experiment collapse
    python benchmarks/pictures.py --experiment weights   # docs/images/weights.png: lowest and highest weights

A row is what one prompt gives with one noise: with the base, at the method's last round, at naive self-training's last.
Every so manyth test prompt is shown, none is picked by hand. What the judge finds wrong has a red frame.
"""

import argparse

import numpy as np
import pandas as pd
from arms import ROOT, Arm, newest, training_samples
from PIL import Image, ImageDraw, ImageFont, ImageOps
from study import METHOD, METHOD_HARDER, NAIVE, NAIVE_HARDER

from rsidiff_kedro.reporting.contact_sheet import contact_sheet

ARMS = {"strategies": (METHOD, NAIVE), "collapse": (METHOD_HARDER, NAIVE_HARDER)}
COLUMNS, ROWS = 8, 8
FRAME = 2
"""Pixels around an image, before it is enlarged."""


def first_samples(arm: Arm, seed: int, number: int, count: int) -> tuple[list[Image.Image], int]:
    """The first sample of every so manyth test prompt of a round, wrong ones in a red frame; and how many are right."""
    folder = newest(arm.folder(seed), f"07_model_output/rsi/round_{number}/test_images")
    table = pd.read_parquet(folder / "metadata.parquet").query("sample_index == 0")
    chosen = table["image_id"].iloc[np.linspace(0, len(table) - 1, count).round().astype(int)]
    scores = pd.read_parquet(newest(arm.folder(seed), f"07_model_output/rsi/round_{number}/test_scores.parquet"))
    correct = scores.set_index("image_id")["correct"].astype(bool)
    images = [Image.open(folder / "images" / f"{image_id}.png").convert("RGB") for image_id in chosen]
    framed = [
        ImageOps.expand(image, FRAME, "white" if correct[image_id] else "red")
        for image, image_id in zip(images, chosen, strict=True)
    ]
    return framed, int(correct[chosen].sum())


def panels(method: Arm, naive: Arm, seed: int) -> Image.Image:
    """Three contact sheets side by side: base, method, naive."""
    shown = ((method, 0, "base"), (method, method.rounds, "method"), (naive, naive.rounds, "naive"))
    sheets = []
    for arm, number, title in shown:
        images, right = first_samples(arm, seed, number, COLUMNS * ROWS)
        name = title if number == 0 else f"{title}, round {number}"
        sheets.append(titled(contact_sheet(images, COLUMNS, 1.5), f"{name}: {right} of {len(images)} right"))
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
    """The kept samples of the method's lowest weights and of its highest, over all rounds."""
    table = training_samples(METHOD, [seed]).sort_values("weight", kind="stable")
    count = COLUMNS * ROWS
    sheets = []
    for title, rows in (("lowest weights", table.head(count)), ("highest weights", table.tail(count))):
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


def main() -> None:
    """Write the picture."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--experiment", choices=[*ARMS, "weights"], default="strategies")
    options.add_argument("--seed", type=int, default=3)
    given = options.parse_args()
    path = ROOT / "docs" / "images" / f"{given.experiment}.png"
    path.parent.mkdir(exist_ok=True)
    picture = extremes(given.seed) if given.experiment == "weights" else panels(*ARMS[given.experiment], given.seed)
    picture.save(path, optimize=True)


if __name__ == "__main__":
    main()
