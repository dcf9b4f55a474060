"""Draws images for prompts, each from a seed of its own."""

import hashlib
from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

from rsidiff_kedro.devices import OPENING
from rsidiff_kedro.diffusion.adapters import Adapter
from rsidiff_kedro.diffusion.backbones import ModelError, PipelineBackbone
from rsidiff_kedro.diffusion.drawn_images import DrawnImages
from rsidiff_kedro.diffusion.image_set import IMAGE_COLUMNS, ImageSet
from rsidiff_kedro.diffusion.settings import SamplerSettings


def image_seed(seed: int, purpose: str, prompt_id: str, sample_index: int) -> int:
    """The seed of one image, in [0, 2^60): a function of these four alone, not of batch, order or worker."""
    key = f"{seed}/{purpose}/{prompt_id}/{sample_index}"
    return int(hashlib.sha256(key.encode()).hexdigest()[:15], 16)


def sample_images(
    backbone: PipelineBackbone,
    adapter: Adapter | None,
    prompts: pd.DataFrame,
    samples_per_prompt: int,
    sampler: SamplerSettings,
    seed: int,
    purpose: str,
    title: str,
    unfinished: Path | None = None,
) -> ImageSet:
    """Draw `samples_per_prompt` images for each row of a prompt table.

    Arithmetic depends on a batch's shape, so all micro-batches have the same size; the last one is filled up.

    Args:
        purpose: goes into the seeds and the image ids; the same purpose draws paired images for two adapters.
        title: what the progress bar is called.
        unfinished: a folder in which drawn micro-batches are kept, and not drawn again if they lie there already; the
            images that are returned lie in it too. None keeps them in memory.
    """
    if adapter is not None:
        with OPENING:
            backbone.load_adapter(adapter, trainable=False)
    checkpoint = adapter.digest if adapter is not None else "base"
    metadata = _plan(prompts, samples_per_prompt, sampler, seed, purpose, checkpoint)
    drawn, latents = DrawnImages(unfinished), []
    size = sampler.micro_batch_size
    with tqdm(total=len(metadata), desc=title, unit="image", disable=metadata.empty) as progress:
        for start in range(0, len(metadata), size):
            rows = metadata.iloc[start : start + size]
            found = drawn.find(rows)
            if found is None:
                batch = _draw_batch(backbone, rows, sampler)
                found = batch.float().cpu()
                drawn.add(rows, found, _decode_batch(backbone, batch, size))
            latents.append(found)
            progress.update(len(rows))
    stacked = torch.cat(latents) if latents else torch.empty((0, *backbone.latent_shape))
    return ImageSet(metadata, drawn.images, stacked)


def _plan(
    prompts: pd.DataFrame, samples_per_prompt: int, sampler: SamplerSettings, seed: int, purpose: str, checkpoint: str
) -> pd.DataFrame:
    rows = []
    for prompt_id, text in zip(prompts["prompt_id"], prompts["text"], strict=True):
        for index in range(samples_per_prompt):
            image_id = f"{purpose}_{prompt_id}_{index}"
            drawn = image_seed(seed, purpose, prompt_id, index)
            settings = (sampler.guidance_scale, sampler.num_inference_steps, checkpoint)
            rows.append((f"images/{image_id}.png", image_id, prompt_id, text, index, drawn, *settings))
    return pd.DataFrame(rows, columns=list(IMAGE_COLUMNS))


def _draw_batch(backbone: PipelineBackbone, rows: pd.DataFrame, sampler: SamplerSettings) -> torch.Tensor:
    """Latents of one micro-batch, without the rows that only fill it up."""
    filling = [len(rows) - 1] * (sampler.micro_batch_size - len(rows))
    full = rows.iloc[[*range(len(rows)), *filling]]
    generators = [torch.Generator().manual_seed(int(value)) for value in full["seed"]]
    noise = torch.stack([torch.randn(backbone.latent_shape, generator=each) for each in generators])
    embeddings = backbone.encode_prompts(list(full["text"]))
    latents = backbone.generate(noise, embeddings, sampler, generators)[: len(rows)]
    if not torch.isfinite(latents).all():
        raise ModelError(
            f"the model draws NaN or infinite latents for {rows['text'].iloc[0][:60]!r}; its weights or the adapter "
            "are broken, or model.dtype is too narrow for it"
        )
    return latents


def _decode_batch(backbone: PipelineBackbone, latents: torch.Tensor, size: int) -> list[Image.Image]:
    filling = latents[-1:].expand(size - len(latents), -1, -1, -1)
    return backbone.decode(torch.cat([latents, filling]))[: len(latents)]
