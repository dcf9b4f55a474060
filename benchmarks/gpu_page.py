"""Write docs/gpu.md from what benchmarks/gpu.py measured: python benchmarks/gpu_page.py [gpu.json]

Without a file it takes benchmarks/gpu.json, the results that are committed.
"""

import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "gpu.md"
Row = dict[str, Any]
TRAINING = """
A training image is one image in one step. Our training reads latents that generation kept. Lines of the same model and
part begin with a plain one, of the same machine, which their ratio is to. Lines with set-up are of an earlier form of
the script, which timed a whole training of few steps: opening it, about a second, counts too. The others are the median
step.
"""
NAMES = {"sd14": "Stable Diffusion 1.4", "sd3": "Stable Diffusion 3, no T5", "hpsv2_1": "HPSv2.1"}
NAMES |= {"image_reward": "ImageReward"}


def main() -> None:
    """Read the results and write the page."""
    results = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("gpu.json")
    found = json.loads(results.read_text(encoding="utf-8"))
    rows: list[Row] = found["rows"]
    parts = [
        heading(found["device"], found["date"], rows),
        speed(rows),
        scoring(rows),
        sameness(rows),
        differences(rows),
    ]
    PAGE.write_text("\n".join(part for part in parts if part), encoding="utf-8")


def heading(device: str, date: str, rows: list[Row]) -> str:
    """Return the top of the page, with the ceilings."""
    ceiling = {row["side"]: row["rate"] for row in rows if row["part"] == "ceiling"}
    peaks = (
        f"The GPU's largest bfloat16 matrix product ran at {ceiling['product'] / 1e12:.0f} TFLOP/s, and a copy moved "
        f"{ceiling['copy'] / 1e12:.1f} TB/s.\n"
        if ceiling
        else ""
    )
    return f"""# On a GPU

Made by `python benchmarks/gpu.py` and `gpu_page.py` ({date}; {device}):
networks of full size with random weights, 512 pixels, bfloat16, the settings of `conf/sd14` and `conf/sd3`. "Plain" is
what a careful user of diffusers writes: the pipeline on the same batches, and the loop of its LoRA example, which
encodes images and prompts at each step. {peaks}"""


def speed(rows: list[Row]) -> str:
    """Return the table of generation and training."""
    timed = [row for row in rows if row["part"] in ("generate", "train") and "rate" in row]
    work = {row["model"]: row["image"] for row in rows if row["part"] == "operations"}
    peak = next((row["rate"] for row in rows if row["part"] == "ceiling" and row["side"] == "product"), None)
    lines = [
        "\n## Generation and training\n\n| model | part | side | images/s (range) | of plain | of the matrix product's "
        "rate | memory, GB | first run adds, s |\n" + "| --- " * 8 + "|"
    ]
    for row in timed:
        plain = next(r for r in timed if all(r.get(name) == row.get(name) for name in ("run", "model", "part")))
        ratio = row["rate"] / plain["rate"]
        share = f"{row['rate'] * work[row['model']] / peak:.0%}" if peak and row["part"] == "generate" else ""
        spread = f"{row['rate']:.2f} ({min(row['rates']):.2f} to {max(row['rates']):.2f})"
        lines.append(
            f"| {NAMES[row['model']]} | {row['part']} | {row['side']} | {spread} | {ratio:.2f} | {share} | "
            f"{row['memory'] / 1e9:.1f} | {max(row['first'], 0):.0f} |"
        )
    lines += [TRAINING]
    return "\n".join(lines)


def scoring(rows: list[Row]) -> str:
    """Return the table of rewards."""
    lines = [
        "\n## Scoring images of 512 pixels\n\nIn shards of 128, PIL images in memory, float32; opening the reward is "
        "included.\n\n| reward | images/s | memory, GB |\n| --- | --- | --- |"
    ]
    for row in rows:
        if row["part"] == "score" and "rate" in row:
            lines.append(f"| {NAMES[row['model']]} | {row['rate']:.0f} | {row['memory'] / 1e9:.1f} |")
    return "\n".join(lines) + "\n"


def sameness(rows: list[Row]) -> str:
    """Return what was the same in two runs."""
    lines = ["\n## Are results the same, byte for byte?\n\n| model | of what | same |\n| --- | --- | --- |"]
    for row in rows:
        if row["part"] == "bytes":
            lines.append(f"| {NAMES[row['model']]} | {row['what']} | {'yes' if row['same'] else 'no'} |")
    made = {row["what"]: row["digest"] for row in rows if row["part"] == "digest" and row["model"] == "sd14"}
    if "images, again" in made:
        same = "yes" if made["images"] == made["images, again"] else "no"
        lines.append(f"| {NAMES['sd14']} | images of two processes | {same} |")
    return "\n".join(lines) + "\n"


def differences(rows: list[Row]) -> str:
    """Return how far images of other programs of the denoiser are from torch's."""
    lines = [
        "\n## Images of other programs of the denoiser\n\nDifferences to torch's own, of 255. Weights are random, so "
        "an image magnifies rounding more than a trained model's.\n\n| model | side | largest | mean |\n"
        "| --- | --- | --- | --- |"
    ]
    for row in rows:
        if row["part"] == "difference":
            lines.append(f"| {NAMES[row['model']]} | {row['side']} | {row['largest']} | {row['mean']:.3f} |")
    return "\n".join(lines) + "\n"


PARTS = (speed, scoring, sameness, differences)


if __name__ == "__main__":
    main()
