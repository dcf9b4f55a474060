"""Fine-tune a LoRA adapter on weighted latents and the conditioning of their prompts."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.locations import NoResult
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.diffusion.conditioning import Conditioning, join_conditionings
from rsidiff_kedro.diffusion.losses import LossSettings
from rsidiff_kedro.diffusion.model import DiffusionModel
from rsidiff_kedro.diffusion.training_state import TrainingState
from rsidiff_kedro.execution.progress import progress_bar


class FinetuneSettings(LossSettings):
    """Settings for training a round's LoRA adapter, whose scale (alpha over rank) is always one.

    Attributes:
        rank: of the LoRA factors.
        layers: that get an adapter: attention, or all (attention, feed-forward and convolutions).
        learning_rate: AdamW's, constant.
        steps: optimizer steps per round.
        batch_size: images per step.
        micro_batch_size: images computed at once; None for the whole batch.
        condition_dropout: share of images trained without a prompt, for classifier-free guidance.
        checkpoint_every: steps between checkpoints; a killed run continues from the last one.
        ema_decay: per step, of the moving average of the weights, the round's result; 0 keeps the last weights.
        gradient_checkpointing: less memory, more time.
        adapter: continue the parent's adapter, or restart from the base each round.
    """

    rank: int = Field(16, ge=1, le=512)
    layers: Literal["attention", "all"] = "all"
    learning_rate: float = Field(2e-4, gt=0, le=1.0)
    steps: int = Field(60, ge=1)
    batch_size: int = Field(32, ge=1)
    micro_batch_size: int | None = Field(default=None, ge=1)
    condition_dropout: float = Field(0.1, ge=0.0, lt=1.0)
    checkpoint_every: Annotated[int, NoResult()] = Field(25, ge=1)
    ema_decay: float = Field(0.0, ge=0.0, lt=1.0)
    gradient_checkpointing: bool = False
    adapter: Literal["continue", "restart"] = "continue"


class TrainingError(InputError):
    """Fine-tuning cannot continue; the message says what to change."""


def initial_adapter(model: DiffusionModel, rank: int, layers: str, seed: int) -> Adapter:
    """Return a fresh adapter that changes nothing yet: with it the model generates as the base does."""
    torch.manual_seed(seed)
    model.add_adapter(rank, layers)
    return _export(model, round=0, parent=None, seed=seed)


def _export(model: DiffusionModel, **info: Any) -> Adapter:
    return Adapter(model.export_adapter(), {"base_model": model.name, "revision": model.revision, **info})


def finetune(
    model: DiffusionModel,
    parent: Adapter,
    training_set: TrainingSet,
    settings: FinetuneSettings,
    seed: int,
    round_number: int,
    unfinished: Path | None = None,
) -> tuple[Adapter, pd.DataFrame]:
    """Train the parent adapter, or a fresh one if `adapter: restart`, on a training set.

    Raise TrainingError if the training set is empty or the loss is not finite.

    Args:
        unfinished: a folder that keeps the training's state every `checkpoint_every` steps; a later call continues
            from it.

    Returns:
        The adapter, and a table with the columns step, loss (weighted, of one batch) and learning_rate.
    """
    if len(training_set) == 0:
        raise TrainingError(
            f"round {round_number} has no images to train on; keep more in preference_selection "
            "(raise max_gap, lower min_margin or the floors, raise keep_per_prompt)"
        )
    torch.manual_seed(seed * 1_000_003 + round_number)
    if settings.adapter == "continue":
        model.load_adapter(parent, trainable=True)
    else:
        model.add_adapter(settings.rank, settings.layers)
    log = _train(model, training_set, settings, seed, round_number, unfinished)
    record = {"images": len(training_set), "finetune": settings.model_dump()}
    return _export(model, round=round_number, parent=parent.digest, seed=seed, **record), log


def _train(
    model: DiffusionModel,
    training_set: TrainingSet,
    settings: FinetuneSettings,
    seed: int,
    round_number: int,
    unfinished: Path | None,
) -> pd.DataFrame:
    parameters = [parameter for parameter in model.denoiser.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=1e-4)
    state = TrainingState(parameters, [optimizer], [parameter.detach().clone() for parameter in parameters])
    update_average = get_ema_multi_avg_fn(settings.ema_decay)
    text_rows, texts = pd.factorize(training_set.metadata["text"])
    data = _TrainingData(
        latents=training_set.latents[:],
        weights=torch.tensor(training_set.metadata["weight"].to_numpy(np.float32)),
        conditioning=join_conditionings(model.conditioning([text]).to(torch.device("cpu")) for text in texts),
        text_rows=torch.tensor(text_rows),
        no_prompt=model.no_prompt,
    )
    model.release_encoders()
    order = _sample_order(len(training_set), settings.steps * settings.batch_size, seed, round_number)
    model.denoiser.train()
    if settings.gradient_checkpointing:
        model.denoiser.enable_gradient_checkpointing()
    checkpoint = unfinished / "training.safetensors" if unfinished else None
    start = state.load(checkpoint) if checkpoint else 0
    steps = range(start, settings.steps)
    for step in progress_bar("fine-tuning", steps, initial=start, total=settings.steps, unit="step"):
        chosen = order[step * settings.batch_size : (step + 1) * settings.batch_size]
        generator = torch.Generator().manual_seed((seed * 1009 + round_number) * 1_000_003 + step)
        optimizer.zero_grad()
        loss = _backward(model, data, chosen, settings, generator)
        if not math.isfinite(loss):
            raise TrainingError(
                f"round {round_number}: the loss is {loss} at step {step}; lower finetune.learning_rate (now "
                f"{settings.learning_rate}); the last round's adapter is kept"
            )
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        update_average(state.average, parameters, 0)
        state.losses.append(loss)
        if checkpoint and (step + 1) % settings.checkpoint_every == 0:
            state.save(checkpoint)
    model.denoiser.eval()
    with torch.no_grad():
        for parameter, mean in zip(parameters, state.average, strict=True):
            parameter.copy_(mean)
    log = {"step": range(settings.steps), "loss": state.losses, "learning_rate": settings.learning_rate}
    return pd.DataFrame(log)


@dataclass(frozen=True)
class _TrainingData:
    """One row per image, but `conditioning` has one per distinct text, whose row `text_rows` holds for each image."""

    latents: Tensor
    weights: Tensor
    conditioning: Conditioning
    text_rows: Tensor
    no_prompt: Conditioning


def _backward(
    model: DiffusionModel, data: _TrainingData, chosen: Tensor, settings: FinetuneSettings, generator: torch.Generator
) -> float:
    """Compute gradients of a batch's mean weighted loss, in parts of `micro_batch_size`; return that loss."""
    dropped = torch.rand(len(chosen), generator=generator) < settings.condition_dropout
    size = settings.micro_batch_size or len(chosen)
    total = 0.0
    for rows, without_prompt in zip(chosen.split(size), dropped.split(size), strict=True):
        condition = data.conditioning.rows(data.text_rows[rows]).to(model.device)
        condition = condition.replace(without_prompt, data.no_prompt)
        latents = data.latents[rows].to(model.device)
        with torch.autocast(model.device.type, model.dtype, enabled=model.dtype != torch.float32):
            each = model.training_loss(latents, condition, generator, settings)
        loss = (each * data.weights[rows].to(each.device)).sum() / len(chosen)
        loss.backward()
        total += loss.item()
    return total


def _sample_order(count: int, needed: int, seed: int, round_number: int) -> Tensor:
    """Return positions in the training set: each once before any repeats."""
    generator = torch.Generator().manual_seed(seed * 1009 + round_number)
    epochs = -(-needed // count)
    return torch.cat([torch.randperm(count, generator=generator) for _ in range(epochs)])[:needed]
