"""Generate images for prompts, each from its own seed."""

import hashlib
from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from pydantic import Field

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import IMAGE_COLUMNS, ImageSet
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.diffusion.model import DiffusionModel, SamplerSettings
from rsidiff_kedro.diffusion.model_folder import ModelError
from rsidiff_kedro.execution.local import Shard, run_shards, split
from rsidiff_kedro.execution.partial_results import PartialResults


class SynthesisSettings(Section):
    """How a round generates its training images.

    Attributes:
        samples_per_prompt: images per prompt, of which preference selection keeps the best.
        sampler: how they are generated.
    """

    samples_per_prompt: int = Field(ge=1)
    sampler: SamplerSettings


def image_seed(seed: int, purpose: str, prompt_id: str, sample_index: int) -> int:
    """Return the seed of one image, in [0, 2^60): a function of these four alone, not of batch, order or worker."""
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

    Arithmetic depends on a batch's shape, so all micro-batches have the same size; the last one is padded.

    Args:
        adapter: fused or loaded first; None for the base model.
        purpose: part of the seeds and image ids; the same purpose makes paired images with two adapters.
        title: of the progress bar.
        unfinished: a folder that keeps finished micro-batches. A later call reuses what lies there, and the returned
            images lie in it too. None keeps everything in memory.

    Raises:
        ModelError: latents are NaN or infinite.
    """
    if adapter is not None:
        model.load_adapter(adapter, trainable=False)
    checkpoint = adapter.digest if adapter is not None else "base"
    metadata = _plan(prompts, samples_per_prompt, sampler, seed, purpose, checkpoint)
    kept = PartialResults(unfinished)

    def generate(shard: Shard) -> torch.Tensor:
        rows = metadata.iloc[shard.start : shard.stop]
        names = rows["file_name"].tolist()
        found = kept.load(shard.key, len(rows), names)
        if found is None:
            latents = _generate_latents(model, rows, sampler)
            found = latents.float().cpu()
            kept.save(shard.key, found, names, _decode(model, latents, sampler.micro_batch_size))
        return found

    shards = list(split(metadata["image_id"].tolist(), sampler.micro_batch_size))
    latents = run_shards(shards, generate, title)
    return ImageSet(metadata, kept.images, torch.cat(latents) if latents else torch.empty((0, *model.latent_shape)))


def _plan(
    prompts: pd.DataFrame, samples_per_prompt: int, sampler: SamplerSettings, seed: int, purpose: str, checkpoint: str
) -> pd.DataFrame:
    rows = []
    for prompt_id, text in zip(prompts["prompt_id"], prompts["text"], strict=True):
        for index in range(samples_per_prompt):
            image_id = f"{purpose}_{prompt_id}_{index}"
            own_seed = image_seed(seed, purpose, prompt_id, index)
            settings = (sampler.guidance_scale, sampler.num_inference_steps, checkpoint)
            rows.append((f"images/{image_id}.png", image_id, prompt_id, text, index, own_seed, *settings))
    return pd.DataFrame(rows, columns=list(IMAGE_COLUMNS))


def _generate_latents(model: DiffusionModel, rows: pd.DataFrame, sampler: SamplerSettings) -> torch.Tensor:
    """Return the latents of one micro-batch, without its padding."""
    padding = [len(rows) - 1] * (sampler.micro_batch_size - len(rows))
    full = rows.iloc[[*range(len(rows)), *padding]]
    generators = [torch.Generator().manual_seed(int(value)) for value in full["seed"]]
    noise = torch.stack([torch.randn(model.latent_shape, generator=each) for each in generators])
    conditioning = model.encode_prompts(list(full["text"]))
    latents = model.generate(noise, conditioning, sampler, generators)[: len(rows)]
    if not torch.isfinite(latents).all():
        raise ModelError(
            f"the model generates NaN or infinite latents for {rows['text'].iloc[0][:60]!r}; its weights or the "
            "adapter are broken, or model.dtype is too narrow for it"
        )
    return latents


def _decode(model: DiffusionModel, latents: torch.Tensor, size: int) -> list[Image.Image]:
    padding = latents[-1:].expand(size - len(latents), -1, -1, -1)
    return model.decode(torch.cat([latents, padding]))[: len(latents)]
