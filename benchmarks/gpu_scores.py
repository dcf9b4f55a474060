"""Measure scoring and the ceilings of a device for gpu.py, and report what was measured."""

import hashlib
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import CLIPTokenizer

from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.rewards.scoring import with_scores
from rsidiff_kedro.rewards.settings import RewardsSettings

sys.path[:0] = [str(Path(__file__).with_name(name)) for name in ("rehearsal", "parity")]
import models  # noqa: E402
import samples  # noqa: E402

THINGS = ("dog", "cat", "house", "tree", "boat", "chair", "horse", "bridge")
COLORS = ("red", "green")
PROMPTS = [f"a {color} {thing} on the street at night" for color in COLORS for thing in THINGS]


def score(small: bool, folder: Path) -> None:
    """Score pictures with HPSv2.1 and ImageReward at full size."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    merges = None if small else models.merges()
    samples.save_models(folder, "small" if small else "full", merges)
    count = 8 if small else 1024
    pictures = [samples.picture(512, 512, seed) for seed in range(16)] * (count // 16 or 1)
    pictures = pictures[:count]
    table = prompt_table(PROMPTS, "benchmark")
    rows = table.iloc[np.arange(count) % len(table)].reset_index(drop=True)
    rows = rows.assign(image_id=[f"image_{number}" for number in range(count)])
    settings = RewardsSettings(
        hpsv2={"checkpoint": str(folder / "hpsv2_1"), "tokenizer": str(folder / "clip_tokenizer")},
        image_reward={"checkpoint": str(folder / "image_reward"), "tokenizer": str(folder / "bert_tokenizer")},
    )
    for name in ("hpsv2_1", "image_reward"):
        try:
            score_with(name, rows, pictures, settings, device)
        except Exception:
            report({"model": name, "part": "score", "error": traceback.format_exc(limit=-4)})


def score_with(name: str, rows: Any, pictures: list[Image.Image], settings: RewardsSettings, device: str) -> None:
    """Time one reward, and compare the scores of two runs."""
    scores, seconds = [], []
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for count in (len(rows) // 4, len(rows) // 4, len(rows)):
        start = time.perf_counter()
        scored = with_scores(rows[:count], pictures[:count], [name], settings)
        synchronize(device)
        seconds.append(time.perf_counter() - start)
        scores.append(scored[name].to_numpy())
    # Opening takes as long for a quarter of the images as for all.
    rate = (len(rows) - len(rows) // 4) / (seconds[2] - seconds[1])
    memory = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    report({"model": name, "part": "score", "side": "ours", "rate": rate, "rates": seconds, "memory": memory})
    same = scores[1].tobytes() == scores[0].tobytes()
    report({"model": name, "part": "bytes", "what": "scores of two runs in one process", "same": same})


def ceilings() -> None:
    """Measure the largest rate of a bfloat16 matrix product and of a copy."""
    if not torch.cuda.is_available():
        return
    first, second = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    source = torch.randn(2**28, device="cuda")
    found = {"product": (lambda: first @ second, 2 * 8192**3), "copy": (source.clone, 2 * source.nbytes)}
    for name, (work, amount) in found.items():
        seconds = []
        for _ in range(13):
            torch.cuda.synchronize()
            start = time.perf_counter()
            work()
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        report({"model": "device", "part": "ceiling", "side": name, "rate": amount / float(np.median(seconds[3:]))})


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def report(row: dict[str, Any]) -> None:
    """Print one result as a line of JSON."""
    sys.stdout.write(f"RESULT {json.dumps(row)}\n")
    sys.stdout.flush()


def samples_tokenizer(folder: Path) -> Any:
    """Build a tokenizer of CLIP's size."""
    samples.save_clip_tokenizer(folder / "clip_tokenizer", models.merges())
    return CLIPTokenizer.from_pretrained(folder / "clip_tokenizer", model_max_length=77)


def digest(images: list[np.ndarray]) -> str:
    """Return a digest of pixels."""
    return hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest()[:16]
