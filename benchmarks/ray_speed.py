"""Compare one process of one thread with two Ray workers of one thread, for generation and scoring.

    OMP_NUM_THREADS=1 python benchmarks/ray_speed.py --images 256 --repeats 3

Prints seconds and the ratio for each, medians of interleaved repeats, and beside them what the machine allows: two
processes without Ray that do half of the work each. Starting Ray and the workers' imports are timed apart. Each repeat
opens the networks anew, as each step of a run does. Run it where nothing else runs.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

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

Work = Callable[[Engine, Any, Path], object]
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
        work: dict[str, tuple[Work, object, object]] = {
            "generation": (generate, given.images, given.images // 2),
            "scoring": (score, many, many.select([*range(len(many) // 2)])),
        }
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as halves:
            list(halves.map(generate_alone, [Path(folder, f"warm_{number}") for number in range(2)]))
            for name, (run, whole, half) in work.items():
                seconds: dict[str, list[float]] = {"one": [], "two": [], "apart": []}
                for repeat in range(given.repeats):
                    place = Path(folder, f"{name}_{repeat}")
                    for kind, engine in {"one": LocalEngine(), "two": two}.items():
                        began = time.monotonic()
                        run(engine, whole, place.with_name(f"{place.name}_{kind}"))
                        seconds[kind].append(time.monotonic() - began)
                    places = [place.with_name(f"{place.name}_{number}") for number in range(2)]
                    began = time.monotonic()
                    list(halves.map(run, [LocalEngine()] * 2, [half] * 2, places))
                    seconds["apart"].append(time.monotonic() - began)
                one, both, apart = (statistics.median(each) for each in seconds.values())
                print(  # noqa: T201
                    f"{name}: one thread {one:.1f} s, two workers {both:.1f} s, ratio {one / both:.2f}; two processes "
                    f"without Ray {apart:.1f} s, ratio {one / apart:.2f}"
                )
        two.close()


def generate_alone(place: Path) -> None:
    """Generate a first batch in a process of its own, whose imports then are done."""
    torch.set_num_threads(1)
    generate(LocalEngine(), len(PROMPTS), place)


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
