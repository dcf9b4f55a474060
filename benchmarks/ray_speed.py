"""Compare one process of one thread with two Ray workers of one thread, for generation and scoring.

    OMP_NUM_THREADS=1 python benchmarks/ray_speed.py --images 256 --repeats 3

Prints seconds and the ratio for each, medians of interleaved repeats. Starting Ray and the workers' imports are timed
apart. Each repeat opens the networks anew, as each step of a run does. Run it where nothing else runs.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings
from rsidiff_kedro.execution.engine import Engine, ExecutionSettings, set_engine
from rsidiff_kedro.execution.local import LocalEngine
from rsidiff_kedro.execution.ray_engine import RayEngine
from rsidiff_kedro.rewards.scoring import with_scores
from rsidiff_kedro.rewards.settings import RewardsSettings

MODEL, SAMPLER = ModelSettings(base="scenes", device="cpu"), SamplerSettings()
COUNT = 16
PROMPTS = pd.DataFrame(
    {"prompt_id": [f"p{row}" for row in range(COUNT)], "text": [f"{row} red circles" for row in range(COUNT)]}
)


def main() -> None:
    """Print one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256, help="to generate; 64 times as many are scored")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        two = RayEngine(ExecutionSettings(engine="ray", workers=2, threads=1), Path(folder), on_gpu=False)
        generate(two, len(PROMPTS), Path(folder, "warm"))
        print(f"starting Ray, and a first batch with imports: {time.monotonic() - began:.1f} s")  # noqa: T201
        images = generate(LocalEngine(), given.images, Path(folder, "images"))
        many = images.select([*range(len(images))] * 64)
        work: dict[str, Callable[[Engine, Path], object]] = {
            "generation": lambda engine, place: generate(engine, given.images, place),
            "scoring": lambda engine, place: score(engine, many, place),
        }
        for name, run in work.items():
            seconds: dict[str, list[float]] = {"one": [], "two": []}
            for repeat in range(given.repeats):
                for kind, engine in {"one": LocalEngine(), "two": two}.items():
                    began = time.monotonic()
                    run(engine, Path(folder, f"{name}_{kind}_{repeat}"))
                    seconds[kind].append(time.monotonic() - began)
            one, both = (statistics.median(seconds[kind]) for kind in ("one", "two"))
            print(f"{name}: one thread {one:.1f} s, two workers {both:.1f} s, ratio {one / both:.2f}")  # noqa: T201
        two.close()


def generate(engine: Engine, count: int, place: Path) -> ImageSet:
    """Generate images into a folder."""
    place.mkdir()
    set_engine(engine)
    return sample_images(MODEL, None, PROMPTS, count // len(PROMPTS), SAMPLER, 0, "speed", "generating", place)


def score(engine: Engine, images: ImageSet, place: Path) -> pd.DataFrame:
    """Score images with the embedded reward."""
    place.mkdir()
    set_engine(engine)
    return with_scores(images.metadata, images.images, ["proxy"], RewardsSettings(), place)


if __name__ == "__main__":
    main()
