"""Measure how many images a second the shipped model generates, with guidance: python benchmarks/sampling_rate.py"""

import statistics
import sys
import time

from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings
from rsidiff_kedro.scenes.pretraining.corpus import held_out_scenes


def main() -> None:
    """Generate 64 images five times; print the median rate and its range."""
    prompts = prompt_table([scene.caption for scene in held_out_scenes(40, 24, seed=0)], source="grammar")
    model = load_model(ModelSettings(base="scenes"))
    rates = []
    for _ in range(5):
        start = time.perf_counter()
        sample_images(model, None, prompts, 1, SamplerSettings(), 0, "benchmark", "generating")
        rates.append(len(prompts) / (time.perf_counter() - start))
    median = statistics.median(rates)
    sys.stdout.write(f"{median:.1f} images/s with guidance (of 5 runs: {min(rates):.1f} to {max(rates):.1f})\n")


if __name__ == "__main__":
    main()
