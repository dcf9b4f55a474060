"""Generate images for prompts, each from its own seed."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import ImageFiles, ImageSet
from rsidiff_kedro.core.tensor_rows import ShardFile, TensorRows
from rsidiff_kedro.diffusion.early_dropping import DroppingCallback, EarlyDropping, Score, better_half, check_scheduler
from rsidiff_kedro.diffusion.model import DiffusionModel
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.output_checks import WorthlessImages, check_finite
from rsidiff_kedro.diffusion.portable_adapter import PortableAdapter
from rsidiff_kedro.diffusion.runtime import check_runtime, use_runtime
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings
from rsidiff_kedro.execution.engine import Task, run_shards
from rsidiff_kedro.execution.local import Shard, split
from rsidiff_kedro.execution.partial_results import VALUES, PartialResults

EARLY = "early_rewards"
"""The name of their tensor in a shard's file."""


def image_seed(seed: int, purpose: str, prompt_id: str, sample_index: int) -> int:
    """Return the seed of one image, in [0, 2^60); it does not depend on batch or order."""
    key = f"{seed}/{purpose}/{prompt_id}/{sample_index}"
    return int(hashlib.sha256(key.encode()).hexdigest()[:15], 16)


def sample_images(
    model: DiffusionModel | ModelSettings,
    adapter: Adapter | None,
    prompts: pd.DataFrame,
    samples_per_prompt: int,
    sampler: SamplerSettings,
    seed: int,
    purpose: str,
    title: str,
    unfinished: Path | None = None,
    dropping: EarlyDropping | None = None,
) -> ImageSet:
    """Generate `samples_per_prompt` images for each row of a prompt table.

    Arithmetic depends on a batch's shape, so the last micro-batch is padded to the size of the others.

    Args:
        model: settings may be opened by the workers of the run's engine; an opened model computes here.
        adapter: fused or loaded first; None for the base model.
        purpose: part of the seeds and image ids; the same purpose makes paired images with two adapters.
        unfinished: a folder that keeps finished micro-batches, which a later call reuses, and the returned images.
            None keeps everything in memory.
        dropping: marks the worse half of each prompt's samples in the column `dropped`, and adds `early_reward`, the
            score of the image that was predicted; None denoises all samples to the end.

    Raises:
        ModelError: embeddings, latents or pixels are not finite, or all images are worthless; see `WorthlessImages`.
    """
    metadata = _plan(prompts, samples_per_prompt, seed, purpose).assign(
        guidance_scale=sampler.guidance_scale,
        num_inference_steps=sampler.num_inference_steps,
        checkpoint=adapter.digest if adapter is not None else "base",
    )
    if metadata.empty:
        opened = load_model(model) if isinstance(model, ModelSettings) else model
        return ImageSet(metadata, [], torch.empty((0, *opened.latent_shape)))
    shards = list(split(metadata["image_id"].tolist(), sampler.micro_batch_size))
    worthless, parts = WorthlessImages(prompts["prompt_id"].nunique()), dict[int, Generated]()
    files, early = dict[int, ShardFile](), dict[int, torch.Tensor]()

    def rows(shard: Shard) -> pd.DataFrame:
        return metadata.iloc[shard.start : shard.stop]

    for shard, part in run_shards(Generating(model, adapter, sampler, unfinished, dropping), shards, rows, title):
        worthless.add(part.images, rows(shard)["prompt_id"])
        early[shard.start] = part.early_rewards
        if unfinished is None:
            parts[shard.start] = part
        else:
            path, (shape, dtype) = PartialResults(unfinished).path(shard.key), (part.latents.shape, part.latents.dtype)
            files[shard.start] = ShardFile(path, VALUES, tuple(shape), dtype)
    if dropping is not None:
        rewards = torch.cat([early[shard.start] for shard in shards]).numpy()
        metadata = metadata.assign(early_reward=rewards, dropped=~better_half(rewards, samples_per_prompt))
    if unfinished is not None:
        pictures = ImageFiles(f"{unfinished}/{name}" for name in metadata["file_name"])
        return ImageSet(metadata, pictures, TensorRows([files[shard.start] for shard in shards]))
    images = [image for shard in shards for image in parts[shard.start].images]
    return ImageSet(metadata, images, torch.cat([parts[shard.start].latents for shard in shards]))


class Generated(NamedTuple):
    """A shard's latents, [n, c, h, w] in the pipeline's dtype, images decoded from them, and early rewards if any."""

    latents: torch.Tensor
    images: Sequence[Image.Image]
    early_rewards: torch.Tensor = torch.empty(0)


@dataclass(frozen=True)
class Generating(Task[pd.DataFrame, Generated]):
    """Generate the images of a plan's rows; see `sample_images`."""

    model: DiffusionModel | ModelSettings
    adapter: Adapter | PortableAdapter | None
    sampler: SamplerSettings
    folder: Path | None
    dropping: EarlyDropping | None = None

    def open(self) -> Callable[[Shard, pd.DataFrame], Generated]:
        """Open the model with its adapter and the runtime of its denoiser."""
        model = load_model(self.model) if isinstance(self.model, ModelSettings) else self.model
        runtime = self.sampler.runtime
        check_runtime("sampler.runtime", runtime, type(model.denoiser), model.device, model.dtype)
        adapter = self.adapter.read() if isinstance(self.adapter, PortableAdapter) else self.adapter
        if adapter is not None:
            model.load_adapter(adapter, trainable=False)
        use_runtime(model.denoiser, runtime, changed=adapter is not None)
        score = None
        if self.dropping is not None:
            scheduler, steps = model.pipeline.scheduler, self.sampler.num_inference_steps
            check_scheduler(type(scheduler), scheduler.config, steps, self.dropping.after)
            score = self.dropping.open_score()

        def generate(shard: Shard, rows: pd.DataFrame) -> Generated:
            # Repeat the last row to fill the micro-batch.
            filled = rows.iloc[np.arange(self.sampler.micro_batch_size).clip(max=len(rows) - 1)]
            latents, early = self._denoise(model, filled, len(rows), score)
            made = Generated(latents[: len(rows)].cpu(), model.decode(latents)[: len(rows)], early[: len(rows)])
            PartialResults(self.folder).save(
                shard.key, made.latents, rows["file_name"].tolist(), made.images, {EARLY: made.early_rewards}
            )
            return made

        return generate

    def _denoise(
        self, model: DiffusionModel, rows: pd.DataFrame, count: int, score: Score | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a micro-batch's latents, and the early rewards if samples are dropped; rows after `count` fill it."""
        given = self.dropping
        if given is None or score is None:
            return _generate_latents(model, rows, self.sampler), torch.empty(0)
        with DroppingCallback(model, given, score, list(rows["text"][:count])) as dropping:
            return _generate_latents(model, rows, self.sampler, dropping), dropping.scores

    def find(self, shard: Shard, given: pd.DataFrame) -> Generated | None:
        """Return what is kept, with images that are opened when they are asked for."""
        kept = PartialResults(self.folder)
        latents = kept.load(shard.key, len(given), given["file_name"].tolist())
        return None if latents is None else Generated(latents, kept.images, kept.further.get(EARLY, torch.empty(0)))

    def portable(self) -> "Generating | None":
        """Write the adapter into the folder."""
        if self.folder is None or not isinstance(self.model, ModelSettings):
            return None
        adapter = self.adapter
        if isinstance(adapter, Adapter):
            adapter = PortableAdapter.write(adapter, self.folder)
        return replace(self, adapter=adapter, folder=self.folder.absolute())


def _plan(prompts: pd.DataFrame, samples_per_prompt: int, seed: int, purpose: str) -> pd.DataFrame:
    """Return one row per image, column by column: a row of Python objects takes ten times the memory."""
    table = prompts[["prompt_id", "text"]].loc[prompts.index.repeat(samples_per_prompt)].reset_index(drop=True)
    table["sample_index"] = np.tile(np.arange(samples_per_prompt), len(prompts))
    table["image_id"] = f"{purpose}_" + table["prompt_id"] + "_" + table["sample_index"].astype("str")
    table["file_name"] = "images/" + table["image_id"] + ".png"
    images = zip(table["prompt_id"], table["sample_index"], strict=True)
    table["seed"] = np.fromiter((image_seed(seed, purpose, *image) for image in images), np.int64, len(table))
    return table[["file_name", "image_id", "prompt_id", "text", "sample_index", "seed"]]


def _generate_latents(
    model: DiffusionModel, rows: pd.DataFrame, sampler: SamplerSettings, dropping: DroppingCallback | None = None
) -> torch.Tensor:
    generators = [torch.Generator().manual_seed(int(value)) for value in rows["seed"]]
    noise = torch.stack([torch.randn(model.latent_shape, generator=each) for each in generators])
    latents = model.generate(noise, model.conditioning(list(rows["text"])), sampler, generators, dropping)
    if dropping is not None:
        latents = dropping.finish(latents)
    check_finite([latents], f"latents for {rows['text'].iloc[0][:60]!r}")
    return latents
