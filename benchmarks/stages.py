"""Measure the work and the speed of a round's parts on the embedded model: python benchmarks/stages.py

One thread. FLOPs are those that torch counts in matrix products, convolutions and attention; the peak is that of a
large product of float32 matrices in the same minute. Seconds are medians of CPU time over micro-batches of 32. A round
generates 600 images to train on, 120 to validate and 400 to test, scores them all, and takes 100 training steps.
"""

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable

import torch
from plain_round import SAMPLER
from torch.utils.flop_counter import FlopCounterMode

from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import FinetuneSettings, LoraSettings, ModelSettings
from rsidiff_kedro.diffusion.training import finetune, initial_adapter
from rsidiff_kedro.rewards.registry import load_reward
from rsidiff_kedro.scenes.pretraining.corpus import held_out_scenes

BATCH, STEPS = SAMPLER.micro_batch_size, 4
ROUND = {"denoising": 1120, "decoding": 1120, "scoring": 1120, "training": 100 * BATCH}
"""Images of each part in a round; training takes some of them several times."""
MODEL = ModelSettings(base="scenes")
SIDE = 2048


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    matrix = torch.randn(SIDE, SIDE)
    peak = 2 * SIDE**3 / seconds(lambda: matrix @ matrix, given.repeats)
    rows = {name: measure(work, per, given.repeats) for name, (work, per) in parts().items()}
    spent = {name: each * ROUND[name] for name, (_, each) in rows.items()}
    sys.stdout.write(
        "| part | GFLOP per image | CPU ms per image | GFLOP/s | of the peak | share of a round |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
    )
    for name, (work, each) in rows.items():
        share = spent[name] / sum(spent.values())
        sys.stdout.write(
            f"| {name} | {work / 1e9:.2f} | {each * 1e3:.1f} | {work / each / 1e9:.0f} | {work / each / peak:.0%} | "
            f"{share:.0%} |\n"
        )
    ideal = sum(work * ROUND[name] for name, (work, _) in rows.items()) / peak / sum(spent.values())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(
        f"\nThe peak is {peak / 1e9:.0f} GFLOP/s. A round's parts take {sum(spent.values()):.0f} CPU seconds; what is "
        f"around them (files, checks, weighting, the report) is not in it. At the peak the same operations would take "
        f"{ideal:.0%} of that, so no program that does them in float32 is more than {1 / ideal:.1f} times faster. All "
        f"parts in one process take at most {memory:.0f} MB, of which torch and the libraries take most.\n"
    )


def parts() -> dict[str, tuple[Callable[[], object], int]]:
    """Return what computes each part, and for how many images."""
    scenes = held_out_scenes(BATCH // 2, BATCH // 2, seed=0)
    prompts = prompt_table([scene.caption for scene in scenes], "grammar")
    texts = prompts["text"].tolist()
    model, reward = load_model(MODEL), load_reward("proxy")
    made = sample_images(model, None, prompts, 1, SAMPLER, 0, "benchmark", "generating")
    assert made.latents is not None
    latents = made.latents[:]
    generators = [torch.Generator().manual_seed(number) for number in range(BATCH)]
    noise = torch.randn((BATCH, *model.latent_shape), generator=torch.Generator().manual_seed(0))
    rows = TrainingSet(made.metadata[["image_id", "prompt_id", "text"]].assign(round=1, weight=1.0), latents)
    settings = FinetuneSettings(learning_rate=6e-4, steps=STEPS, batch_size=BATCH)
    parent = initial_adapter(load_model(MODEL), LoraSettings(rank=settings.rank, layers=settings.layers), seed=0)
    return {
        "denoising": (lambda: model.generate(noise, model.conditioning(texts), SAMPLER, generators), BATCH),
        "decoding": (lambda: model.decode(latents), BATCH),
        "scoring": (lambda: reward.score([image.copy() for image in made.images], texts), BATCH),
        "training": (lambda: finetune(load_model(MODEL), parent, rows, settings, 0, 1), BATCH * STEPS),
    }


def measure(work: Callable[[], object], images: int, repeats: int) -> tuple[float, float]:
    """Return the operations and the CPU seconds per image."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / images, seconds(work, repeats) / images


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median of a work's CPU seconds; the first run warms up."""
    found = []
    for _ in range(repeats + 1):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return statistics.median(found[1:])


if __name__ == "__main__":
    main()
