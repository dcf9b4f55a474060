"""Measure what would gain little, and is therefore not done: python benchmarks/small_gains.py

On the embedded model and one thread. Each row is a part of generation or training that could be left out, hidden or
made faster, and its share of the CPU seconds of a micro-batch of 32; what could be gained is at most that.
"""

import io
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from rsidiff_kedro.core.image_set import PNG
from rsidiff_kedro.diffusion.model import DiffusionModel
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.settings import LoraSettings, ModelSettings, SamplerSettings
from rsidiff_kedro.diffusion.training import initial_adapter
from rsidiff_kedro.scenes.pretraining.corpus import held_out_scenes

IMAGES, TIMES = 32, 7


def seconds(work: Callable[[], object]) -> float:
    """Return the median CPU seconds of some calls."""
    found = []
    for _ in range(TIMES):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return statistics.median(found)


def generation(model: DiffusionModel) -> list[tuple[str, float, float]]:
    """Return parts of generation: what it is, its seconds, and those of the whole."""
    texts = [scene.caption for scene in held_out_scenes(20, 12, seed=0)]
    noise = torch.randn(IMAGES, *model.latent_shape)
    condition, generators = model.conditioning(texts), [torch.Generator() for _ in texts]
    latents = model.generate(noise, condition, SamplerSettings(), generators)
    images = model.decode(latents)
    encode = seconds(lambda: model.conditioning(texts))
    write = seconds(lambda: [image.save(io.BytesIO(), **PNG) for image in images])
    denoise = seconds(lambda: model.generate(noise, condition, SamplerSettings(), generators))
    whole = encode + denoise + seconds(lambda: model.decode(latents)) + write
    return [
        ("encode each prompt once per step of the pipeline, not once per image", encode, whole),
        ("write PNGs while the next micro-batch is generated", write, whole),
    ]


def training(model: DiffusionModel) -> list[tuple[str, float, float]]:
    """Return parts of a training step, and how much less time it takes with channels_last."""
    adapter = initial_adapter(load_model(ModelSettings(base="scenes")), LoraSettings(rank=16), seed=0)
    model.load_adapter(adapter, trainable=True)
    weights = [each for each in model.denoiser.parameters() if each.requires_grad]
    inputs = torch.randn(IMAGES, *model.latent_shape), torch.tensor(500), torch.randn(IMAGES, 24, 128)

    def step(network: nn.Module, latents: torch.Tensor) -> Callable[[], None]:
        hidden = inputs[2][..., : network.config.cross_attention_dim]
        return lambda: network(latents, inputs[1], hidden, return_dict=False)[0].square().mean().backward()

    plain = seconds(step(model.denoiser, inputs[0]))
    updates = {fused: torch.optim.AdamW(weights, fused=fused) for fused in (False, True)}
    update, fused = (seconds(updates[each].step) for each in (False, True))
    model.denoiser.to(memory_format=torch.channels_last)
    other = seconds(step(model.denoiser, inputs[0].contiguous(memory_format=torch.channels_last)))
    return [("fused AdamW", update - fused, plain + update), ("channels_last in training", plain - other, plain)]


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    model = load_model(ModelSettings(base="scenes"))
    sys.stdout.write("| change | could gain, CPU ms | of | share |\n| --- | --- | --- | --- |\n")
    for what, gain, whole in generation(model) + training(model):
        sys.stdout.write(f"| {what} | {gain * 1000:.0f} | {whole * 1000:.0f} | {gain / whole:.1%} |\n")


if __name__ == "__main__":
    main()
