"""Fine-tunes a LoRA adapter on weighted images, from their latents and text embeddings."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from rsidiff_kedro.devices import OPENING
from rsidiff_kedro.diffusion.adapters import Adapter
from rsidiff_kedro.diffusion.backbones import PipelineBackbone
from rsidiff_kedro.diffusion.embeddings import TextEmbeddings, concatenate_embeddings
from rsidiff_kedro.diffusion.image_set import ImageSet
from rsidiff_kedro.diffusion.settings import FinetuneSettings
from rsidiff_kedro.diffusion.training_state import TrainingState
from rsidiff_kedro.errors import InputError


class TrainingError(InputError):
    """Fine-tuning cannot go on; the message says what to change."""


def initial_adapter(backbone: PipelineBackbone, settings: FinetuneSettings, seed: int) -> Adapter:
    """A fresh adapter that changes nothing yet: with it the base model draws as without it."""
    with OPENING:
        torch.manual_seed(seed)
        backbone.add_adapter(settings.rank, settings.layers)
    info = {"base_model": backbone.name, "revision": backbone.revision, "round": 0, "parent": None, "seed": seed}
    return Adapter(backbone.export_adapter(), info)


def finetune(
    backbone: PipelineBackbone,
    parent: Adapter,
    training_set: ImageSet,
    settings: FinetuneSettings,
    seed: int,
    round_number: int,
    unfinished: Path | None = None,
) -> tuple[Adapter, pd.DataFrame]:
    """Train the parent adapter (or a fresh one, `adapter: restart`) on a training set.

    Args:
        training_set: with latents, and in its metadata a `weight` (0 or more) that multiplies each image's loss.
        unfinished: a folder in which the training's state is kept every `checkpoint_every` steps, and from which it
            goes on if one lies there. None keeps none.

    Returns:
        The adapter, and a table with the columns step, loss (weighted, of one batch) and learning_rate.

    Raises:
        TrainingError: the training set is empty or has no latents, or the loss is not finite.
    """
    if len(training_set) == 0 or training_set.latents is None:
        raise TrainingError(
            f"round {round_number} has no images to train on; keep more in preference_selection "
            "(raise max_gap, lower min_margin or the floors, raise keep_per_prompt)"
        )
    with OPENING:
        torch.manual_seed(seed * 1_000_003 + round_number)
        if settings.adapter == "continue":
            backbone.load_adapter(parent, trainable=True)
        else:
            backbone.add_adapter(settings.rank, settings.layers)
    log = _train(backbone, training_set, settings, seed, round_number, unfinished)
    info = {
        "base_model": backbone.name,
        "revision": backbone.revision,
        "round": round_number,
        "parent": parent.digest,
        "seed": seed,
        "images": len(training_set),
        "finetune": settings.model_dump(),
    }
    return Adapter(backbone.export_adapter(), info), log


def _train(
    backbone: PipelineBackbone,
    training_set: ImageSet,
    settings: FinetuneSettings,
    seed: int,
    round_number: int,
    unfinished: Path | None,
) -> pd.DataFrame:
    parameters = [parameter for parameter in backbone.denoiser.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=1e-4)
    state = TrainingState(parameters, [optimizer], [parameter.detach().clone() for parameter in parameters])
    data = _encode(backbone, training_set)
    backbone.release_encoders()
    order = _sample_order(len(training_set), settings.steps * settings.batch_size, seed, round_number)
    backbone.denoiser.train()
    if settings.gradient_checkpointing:
        backbone.denoiser.enable_gradient_checkpointing()
    checkpoint = unfinished / "training.safetensors" if unfinished is not None else None
    start = state.load(checkpoint) if checkpoint is not None else 0
    title = f"round {round_number}: fine-tuning"
    for step in tqdm(range(start, settings.steps), initial=start, total=settings.steps, desc=title, unit="step"):
        chosen = order[step * settings.batch_size : (step + 1) * settings.batch_size]
        generator = torch.Generator().manual_seed((seed * 1009 + round_number) * 1_000_003 + step)
        optimizer.zero_grad()
        loss = _backward(backbone, data, chosen, settings, generator)
        _check_finite(loss, step, round_number, settings)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        torch._foreach_lerp_(state.average, [value.detach() for value in parameters], 1 - settings.ema_decay)
        state.losses.append(loss)
        if checkpoint is not None and (step + 1) % settings.checkpoint_every == 0:
            state.save(checkpoint)
    backbone.denoiser.eval()
    with torch.no_grad():
        for parameter, mean in zip(parameters, state.average, strict=True):
            parameter.copy_(mean)
    log = pd.DataFrame({"step": range(settings.steps), "loss": state.losses})
    return log.assign(learning_rate=settings.learning_rate)


@dataclass(frozen=True)
class _TrainingData:
    """On the CPU: latents and weights, a row an image; embeddings, a row a text, and each image's row in them."""

    latents: torch.Tensor
    weights: torch.Tensor
    embeddings: TextEmbeddings
    text_rows: torch.Tensor
    no_prompt: TextEmbeddings


def _encode(backbone: PipelineBackbone, training_set: ImageSet) -> _TrainingData:
    texts = list(training_set.metadata["text"])
    distinct = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    cpu = torch.device("cpu")
    return _TrainingData(
        latents=training_set.latents,  # type: ignore[arg-type]
        weights=torch.tensor(training_set.metadata["weight"].to_numpy(np.float32)),
        embeddings=concatenate_embeddings(backbone.encode_prompts([text]).to(cpu) for text in distinct),
        text_rows=torch.tensor([distinct[text] for text in texts]),
        no_prompt=backbone.encode_no_prompt(),
    )


def _backward(
    backbone: PipelineBackbone,
    data: _TrainingData,
    chosen: torch.Tensor,
    settings: FinetuneSettings,
    generator: torch.Generator,
) -> float:
    """Gradients of a batch's mean weighted loss, computed in parts of `micro_batch_size`; returns that loss."""
    dropped = torch.rand(len(chosen), generator=generator) < settings.condition_dropout
    size = settings.micro_batch_size or len(chosen)
    total = 0.0
    for rows, without_prompt in zip(chosen.split(size), dropped.split(size), strict=True):
        condition = data.embeddings[data.text_rows[rows]].to(backbone.device).replace(without_prompt, data.no_prompt)
        latents = data.latents[rows].to(backbone.device)
        with torch.autocast(backbone.device.type, backbone.dtype, enabled=backbone.dtype != torch.float32):
            each = backbone.training_loss(latents, condition, generator, settings)
        loss = (each * data.weights[rows].to(each.device)).sum() / len(chosen)
        loss.backward()
        total += loss.item()
    return total


def _sample_order(count: int, needed: int, seed: int, round_number: int) -> torch.Tensor:
    """Positions in the training set: each once before any comes twice."""
    generator = torch.Generator().manual_seed(seed * 1009 + round_number)
    epochs = -(-needed // count)
    return torch.cat([torch.randperm(count, generator=generator) for _ in range(epochs)])[:needed]


def _check_finite(loss: float, step: int, round_number: int, settings: FinetuneSettings) -> None:
    if not np.isfinite(loss):
        raise TrainingError(
            f"round {round_number}: the loss is {loss} at step {step}; "
            f"lower finetune.learning_rate (now {settings.learning_rate}); the last round's adapter is kept"
        )
