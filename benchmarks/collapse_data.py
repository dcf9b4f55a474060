"""Write the tables and pictures of notebooks/collapse.ipynb into notebooks/collapse, from the newest finished run.

    kedro run --pipeline=rsi --params rounds=6
    python benchmarks/collapse_data.py

`samples.parquet` has a row per training image: prompt, whether selection kept it, its weight, the verdict.
`images.png` shows the first round's images of evenly spaced prompts, a row per prompt, and `images.parquet` says which.
"""

import argparse
from pathlib import Path

import pandas as pd
from kedro.framework.startup import bootstrap_project

from rsidiff_kedro.datasets.runs import Run, open_runs
from rsidiff_kedro.evaluation.judging import judge_readable
from rsidiff_kedro.hooks.configuration import open_configuration
from rsidiff_kedro.reporting.contact_sheet import contact_sheet
from rsidiff_kedro.reporting.gallery import spread

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks" / "collapse"
PROMPTS = 12
KEYS = ["round", "prompt_id", "sample_index"]


def training_samples(run: Run, number: int) -> pd.DataFrame:
    """Return a round's images with what became of each, and what the judge says."""
    images = run.load(f"rsi.round_{number}.images")
    table = images.metadata[["image_id", "prompt_id", "sample_index", "text"]].reset_index(drop=True)
    verdicts = judge_readable("scenes", images.images, table["text"].tolist())
    kept = run.load(f"rsi.round_{number}.selection").set_index("image_id")["kept"]
    weights = run.load(f"rsi.round_{number}.weights").set_index("image_id")["weight"]
    return table.assign(
        round=number,
        kept=kept.reindex(table["image_id"]).to_numpy(bool),
        weight=weights.reindex(table["image_id"]).fillna(0.0).to_numpy("float32"),
        right=verdicts["correct"].to_numpy(bool),
    )


def main() -> None:
    """Write the files."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    bootstrap_project(ROOT)
    run = open_runs(*open_configuration(None, {})).newest()
    table = pd.concat([training_samples(run, number) for number in range(1, run.rounds + 1)], ignore_index=True)
    FOLDER.mkdir(exist_ok=True)
    table[[*KEYS, "kept", "weight", "right"]].to_parquet(FOLDER / "samples.parquet", index=False)
    first = table[table["round"] == 1].reset_index(drop=True)
    shown = first[first["prompt_id"].isin(spread(first["prompt_id"].unique(), PROMPTS))].sort_values(KEYS)
    images = run.load("rsi.round_1.images").images
    per_prompt = len(shown) // PROMPTS
    sheet = contact_sheet([images[row] for row in shown.index], per_prompt, 1.0)
    sheet.save(FOLDER / "images.png", optimize=True)
    shown[[*KEYS, "text", "kept", "weight", "right"]].to_parquet(FOLDER / "images.parquet", index=False)


if __name__ == "__main__":
    main()
