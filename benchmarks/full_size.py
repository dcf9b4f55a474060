"""Measure what a Stable Diffusion 1.4 of full size takes, with random weights: python benchmarks/full_size.py

Generates one image of 512 pixels in 8 steps with guidance, and takes one LoRA step on it, with and without gradient
checkpointing, each in a process of its own. Prints seconds of the CPU (without building the model) and the peak of
memory.
"""

import argparse
import multiprocessing
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.diffusion.families.stable_diffusion import StableDiffusion
from rsidiff_kedro.diffusion.model import DiffusionModel
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings, SamplerSettings, find_device
from rsidiff_kedro.diffusion.training import finetune, initial_adapter
from rsidiff_kedro.scenes.pretraining.denoiser import build_tokenizer

sys.path.insert(0, str(Path(__file__).parent / "rehearsal"))
import models

PROMPTS = prompt_table(["a red circle"], "benchmark")


def build_model(device: str, dtype: str) -> StableDiffusion:
    """Build networks of the sizes of CompVis/stable-diffusion-v1-4, with random weights."""
    torch.manual_seed(0)
    pipeline = models.stable_diffusion(build_tokenizer())
    settings = ModelSettings(base="random", device=device, dtype=dtype)
    return StableDiffusion(pipeline.to(find_device(device), getattr(torch, dtype)), settings)


def generate(model: DiffusionModel) -> None:
    """Generate one image."""
    sampler = SamplerSettings(num_inference_steps=8, guidance_scale=7.5, micro_batch_size=1)
    images = sample_images(model, None, PROMPTS, 1, sampler, 0, "benchmark", "generating")
    assert images.images[0].size == (512, 512)


def train(model: DiffusionModel, gradient_checkpointing: bool) -> None:
    """Take one step of a batch of one."""
    settings = FinetuneSettings(
        rank=16, layers="attention", steps=1, batch_size=1, gradient_checkpointing=gradient_checkpointing
    )
    latents = torch.randn((1, *model.latent_shape), generator=torch.Generator().manual_seed(0))
    rows = PROMPTS[["prompt_id", "text"]].assign(image_id="a", round=1, weight=1.0)
    parent = initial_adapter(model, settings, seed=0)
    model.remove_adapter()
    finetune(model, parent, TrainingSet(rows, latents), settings, 0, 1)


PARTS: dict[str, Callable[[DiffusionModel], None]] = {
    "one image of 512 pixels, 8 steps with guidance": generate,
    "one LoRA step of one image": lambda model: train(model, False),
    "one LoRA step of one image, gradient checkpointing": lambda model: train(model, True),
}


def cpu_seconds() -> float:
    """Return the CPU time of this process, all its threads; other work on the machine hardly changes it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(name: str, device: str, dtype: str) -> None:
    """Print one part's line."""
    model = build_model(device, dtype)
    parameters = sum(parameter.numel() for parameter in model.denoiser.parameters())
    start = cpu_seconds()
    PARTS[name](model)
    seconds = cpu_seconds() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if model.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    sys.stdout.write(f"| {name} | {parameters / 1e6:.0f} M | {seconds:.1f} s | {peak / 1e9:.1f} GB |\n")


def main() -> None:
    """Measure each part in a process of its own."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", default="auto")
    options.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    given = options.parse_args()
    sys.stdout.write("| part | UNet | CPU time | peak of memory |\n| --- | --- | --- | --- |\n")
    sys.stdout.flush()
    for name in PARTS:
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(name, given.device, given.dtype))
        process.start()
        process.join()
        if process.exitcode != 0:
            sys.exit(f"{name}: ended with {process.exitcode}")


if __name__ == "__main__":
    main()
