"""Compare the runtimes of the denoiser: python benchmarks/sampling_runtime.py [--pairs 7] [--runtime onnxruntime]

Both sides open the shipped model and generate the same micro-batches with an adapter fused, on one thread. They take
turns; the table holds medians of CPU seconds. Opening a side, with export or compilation, is done once per step, and is
counted apart.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.diffusion.model import DiffusionModel
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import LoraSettings, ModelSettings, Runtime, SamplerSettings
from rsidiff_kedro.diffusion.training import initial_adapter
from rsidiff_kedro.scenes.pretraining.corpus import held_out_scenes

ROUND = (600, 120, 400)
"""Images that a round of scenes generates: to train on, to validate and to test; each step opens the model."""


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of all threads, compilers included only if they run in this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


class Side:
    """A runtime with its opened model, whose first images are those of opening it."""

    def __init__(self, runtime: Runtime, images: int) -> None:
        self._sampler = SamplerSettings(runtime=runtime, micro_batch_size=images)
        scenes = held_out_scenes(images // 2, images - images // 2, seed=0)
        self._prompts = prompt_table([scene.caption for scene in scenes], source="grammar")
        self._model: DiffusionModel = load_model(ModelSettings(base="scenes", device="cpu"))
        self.first = seconds(lambda: self.generate(self._adapter()))
        self.times: list[float] = []

    def _adapter(self) -> Adapter:
        initial = initial_adapter(load_model(ModelSettings(base="scenes", device="cpu")), LoraSettings(rank=8), seed=0)
        noise = torch.Generator().manual_seed(0)
        weights = {
            name: each + 0.01 * torch.randn(each.shape, generator=noise) for name, each in initial.weights.items()
        }
        return Adapter(weights, initial.info)

    def generate(self, adapter: Adapter | None = None) -> np.ndarray:
        """Generate a micro-batch; return its pixels."""
        images = sample_images(self._model, adapter, self._prompts, 1, self._sampler, 0, "benchmark", "generating")
        self.pixels = np.stack([np.asarray(image, int) for image in images.images])
        return self.pixels


def main() -> None:
    """Print a table, the largest difference of pixels, and what a round of scenes gains."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=7, help="timed micro-batches of each side")
    parser.add_argument("--images", type=int, default=32, help="of a micro-batch")
    parser.add_argument("--runtime", choices=["compile", "onnxruntime"], default="onnxruntime")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sides = [Side("torch", arguments.images), Side(arguments.runtime, arguments.images)]
    for _ in range(arguments.pairs):
        for side in sides:
            side.times.append(seconds(side.generate))
    plain, other = (statistics.median(side.times) for side in sides)
    ratios = sorted(first / second for first, second in zip(*(side.times for side in sides), strict=True))
    difference = np.abs(sides[0].pixels - sides[1].pixels).max()
    once = max(sides[1].first - sides[0].first, 0.0)
    batches = sum(-(-images // arguments.images) for images in ROUND)
    gain = batches * plain / (batches * other + len(ROUND) * once)
    sys.stdout.write(
        f"micro-batch of {arguments.images}: torch {plain:.2f} s, {arguments.runtime} {other:.2f} s; ratio "
        f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}, {arguments.pairs} pairs); "
        f"once per step {once:.1f} s; pixels differ by {difference} of 255 at most\n"
        f"{sum(ROUND):,} images in {len(ROUND)} steps: {gain:.2f} times faster\n"
    )


if __name__ == "__main__":
    main()
