"""Draws the README's pictures into docs/images from the runs that `kedro rsi study benchmarks/studies/claims.yml` left.

    python benchmarks/pictures.py strategies  # images of base, method and naive after six rounds
    python benchmarks/pictures.py collapse    # the same after twelve rounds
    python benchmarks/pictures.py weights     # kept samples far from the distribution and near to it
    python benchmarks/pictures.py kept        # a table: the weights of kept samples and the judge's verdict

In strategies and collapse an image's place is one prompt and one noise: with the base, after the method's last round,
after naive self-training's last. Evenly spaced test prompts are shown, none is picked by hand. What the judge finds
wrong has a red frame.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont, ImageOps
from sklearn.metrics import roc_auc_score

from rsidiff_kedro.core.training_set import effective_sample_size
from rsidiff_kedro.evaluation.judging import judge_readable
from rsidiff_kedro.reporting.contact_sheet import contact_sheet

ROOT = Path(__file__).resolve().parents[1]
STUDY = ROOT / "data" / "study" / "claims"
SEEDS = [3, 4, 5]
METHOD, NAIVE = "method", "naive"
ROUNDS = {"strategies": 6, "collapse": 12}
"""The last round that a picture shows."""
COLUMNS, ROWS = 12, 8
FRAME = 2
"""Pixels around an image, before it is enlarged."""


def newest(arm: str, seed: int, dataset: str) -> Path:
    """The newest version of a dataset of a run, by its path below `data/`."""
    path = STUDY / arm / f"seed_{seed}" / "data" / dataset
    return max(path.iterdir(), key=lambda version: version.name) / path.name


def training_samples(arm: str, seeds: Sequence[int], rounds: int = 6) -> pd.DataFrame:
    """Every sample that preference selection kept, with its weight and what the judge says of it.

    What the judge cannot read, a prompt that is no caption of the grammar, is counted as not right.
    """
    tables = []
    for seed in seeds:
        for number in range(1, rounds + 1):
            weights = pd.read_parquet(newest(arm, seed, f"04_feature/rsi/round_{number}/weights.parquet"))
            images = newest(arm, seed, f"03_primary/rsi/round_{number}/images")
            texts = pd.read_parquet(images / "metadata.parquet").set_index("image_id")["text"]
            texts = texts[weights["image_id"]].tolist()
            pictures = [Image.open(images / "images" / f"{name}.png") for name in weights["image_id"]]
            table = weights.assign(text=texts).join(judge_readable("scenes", pictures, texts))
            correct = table["correct"].fillna(False).astype(bool)
            tables.append(table.assign(arm=arm, seed=seed, round=number, correct=correct))
    return pd.concat(tables, ignore_index=True)


def first_samples(arm: str, seed: int, number: int, count: int) -> list[tuple[Image.Image, bool]]:
    """The first sample of evenly spaced test prompts, wrong ones in a red frame; and whether it is right."""
    folder = newest(arm, seed, f"07_model_output/rsi/round_{number}/test_images")
    table = pd.read_parquet(folder / "metadata.parquet").query("sample_index == 0")
    chosen = table["image_id"].iloc[np.linspace(0, len(table) - 1, count).round().astype(int)]
    scores = pd.read_parquet(newest(arm, seed, f"07_model_output/rsi/round_{number}/test_scores.parquet"))
    correct = scores.set_index("image_id")["correct"].astype(bool)
    images = [Image.open(folder / "images" / f"{image_id}.png").convert("RGB") for image_id in chosen]
    return [
        (ImageOps.expand(image, FRAME, "white" if correct[image_id] else "red"), bool(correct[image_id]))
        for image, image_id in zip(images, chosen, strict=True)
    ]


def panels(rounds: int, seeds: Sequence[int]) -> Image.Image:
    """Three contact sheets side by side: base, method, naive; as many prompts of each seed."""
    shown = ((METHOD, 0, "base"), (METHOD, rounds, "method"), (NAIVE, rounds, "naive"))
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
            folder = newest(METHOD, seed, f"03_primary/rsi/round_{row.round}/images")
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


def kept(seeds: Sequence[int]) -> list[str]:
    """Compare the weights of kept samples with the judge's verdict."""
    table = training_samples(METHOD, seeds)
    right, hallucinated = table["correct"].astype(bool), table["hallucinations"] > 0
    lines = ["| kept samples | share | mean weight | AUC of the distance against right ones |", "|---|---|---|---|"]
    for name, rows in {"right": right, "hallucinated": hallucinated, "misaligned only": ~right & ~hallucinated}.items():
        both = table[rows | right]
        auc = "" if name == "right" else f"{roc_auc_score(~both['correct'].astype(bool), both['distance']):.3f}"
        lines.append(f"| {name} | {rows.mean():.3f} | {table['weight'][rows].mean():.3f} | {auc} |")
    sizes = table.groupby(["seed", "round"])["weight"].apply(lambda values: effective_sample_size(values.to_numpy()))
    by_round = ", ".join(f"{value:.2f}" for value in sizes.groupby("round").min())
    return [*lines, "", f"Smallest effective sample size of the seeds, by round: {by_round}"]


def main() -> None:
    """Draw a picture, or print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("picture", choices=[*ROUNDS, "weights", "kept"])
    options.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="weights shows the first")
    given = options.parse_args()
    if given.picture == "kept":
        sys.stdout.write("\n".join(kept(given.seeds)) + "\n")
        return
    path = ROOT / "docs" / "images" / f"{given.picture}.png"
    path.parent.mkdir(exist_ok=True)
    if given.picture == "weights":
        extremes(given.seeds[0]).save(path, optimize=True)
    else:
        panels(ROUNDS[given.picture], given.seeds).save(path, optimize=True)


if __name__ == "__main__":
    main()
