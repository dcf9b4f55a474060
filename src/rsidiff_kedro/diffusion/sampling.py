"""Generate images for prompts, each from its own seed."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.diffusion.model import DiffusionModel, SamplerSettings
from rsidiff_kedro.diffusion.output_checks import WorthlessImages, check_finite
from rsidiff_kedro.execution.local import Shard, run_shards, split
from rsidiff_kedro.execution.partial_results import PartialResults


class SynthesisSettings(Section):
    """Settings for generating a round's training images.

    Attributes:
        samples_per_prompt: images per prompt, of which preference selection keeps some.
        sampler: how they are generated.
    """

    samples_per_prompt: int = Field(ge=1)
    sampler: SamplerSettings


def image_seed(seed: int, purpose: str, prompt_id: str, sample_index: int) -> int:
    """Return the seed of one image, in [0, 2^60); it does not depend on batch or order."""
    key = f"{seed}/{purpose}/{prompt_id}/{sample_index}"
    return int(hashlib.sha256(key.encode()).hexdigest()[:15], 16)


def sample_images(
    model: DiffusionModel,
    adapter: Adapter | None,
    prompts: pd.DataFrame,
    samples_per_prompt: int,
    sampler: SamplerSettings,
    seed: int,
    purpose: str,
    title: str,
    unfinished: Path | None = None,
) -> ImageSet:
    """Generate `samples_per_prompt` images for each row of a prompt table.

    Arithmetic depends on a batch's shape, so the last micro-batch is padded to the size of the others.

    Args:
        adapter: fused or loaded first; None for the base model.
        purpose: part of the seeds and image ids; the same purpose makes paired images with two adapters.
        unfinished: a folder that keeps finished micro-batches, which a later call reuses, and the returned images.
            None keeps everything in memory.

    Raises:
        ModelError: embeddings, latents or pixels are not finite, or all images are worthless; see `WorthlessImages`.
    """
    if adapter is not None:
        model.load_adapter(adapter, trainable=False)
    size, kept = sampler.micro_batch_size, PartialResults(unfinished)
    worthless = WorthlessImages(prompts["prompt_id"].nunique())
    metadata = _plan(prompts, samples_per_prompt, seed, purpose).assign(
        guidance_scale=sampler.guidance_scale,
        num_inference_steps=sampler.num_inference_steps,
        checkpoint=adapter.digest if adapter is not None else "base",
    )

    def generate(shard: Shard) -> torch.Tensor:
        rows = metadata.iloc[shard.start : shard.stop]
        names = rows["file_name"].tolist()
        found = kept.load(shard.key, len(rows), names)
        if found is None:
            # Repeat the last row to fill the micro-batch.
            latents = _generate_latents(model, rows.iloc[np.arange(size).clip(max=len(rows) - 1)], sampler)
            found, images = latents[: len(rows)].float().cpu(), model.decode(latents)[: len(rows)]
            worthless.add(images, rows["prompt_id"])
            kept.save(shard.key, found, names, images)
        else:
            worthless.add(kept.images[-len(rows) :], rows["prompt_id"])
        return found

    latents = run_shards(list(split(metadata["image_id"].tolist(), size)), generate, title)
    return ImageSet(metadata, kept.images, torch.cat(latents) if latents else torch.empty((0, *model.latent_shape)))


def _plan(prompts: pd.DataFrame, samples_per_prompt: int, seed: int, purpose: str) -> pd.DataFrame:
    rows = []
    for prompt_id, text in zip(prompts["prompt_id"], prompts["text"], strict=True):
        for index in range(samples_per_prompt):
            image_id, own_seed = f"{purpose}_{prompt_id}_{index}", image_seed(seed, purpose, prompt_id, index)
            rows.append((f"images/{image_id}.png", image_id, prompt_id, text, index, own_seed))
    return pd.DataFrame(rows, columns=["file_name", "image_id", "prompt_id", "text", "sample_index", "seed"])


def _generate_latents(model: DiffusionModel, rows: pd.DataFrame, sampler: SamplerSettings) -> torch.Tensor:
    generators = [torch.Generator().manual_seed(int(value)) for value in rows["seed"]]
    noise = torch.stack([torch.randn(model.latent_shape, generator=each) for each in generators])
    latents = model.generate(noise, model.conditioning(list(rows["text"])), sampler, generators)
    check_finite([latents], f"latents for {rows['text'].iloc[0][:60]!r}")
    return latents
