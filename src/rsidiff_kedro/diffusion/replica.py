"""One copy of a training: its adapter, optimizer and average. Copies that take the same steps stay the same.

A batch is cut into micro-batches, each with its own noise. Gradients are added in the order of micro-batches, whoever
computes them, because another order would round differently.
"""

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.diffusion.attention import Float32Attention
from rsidiff_kedro.diffusion.conditioning import Conditioning, join_conditionings
from rsidiff_kedro.diffusion.lora import leave_casts_to_autocast
from rsidiff_kedro.diffusion.model import DiffusionModel
from rsidiff_kedro.diffusion.runtime import use_runtime
from rsidiff_kedro.diffusion.training_state import TrainingState

if TYPE_CHECKING:
    from rsidiff_kedro.diffusion.settings import FinetuneSettings


class TrainingRows(NamedTuple):
    """Hold the parts of a training set that training reads: latents [n, c, h, w], float32 weights [n] and prompts."""

    latents: Tensor
    weights: Tensor
    texts: list[str]

    @classmethod
    def of(cls, training_set: TrainingSet) -> "TrainingRows":
        """Take the columns that count."""
        metadata = training_set.metadata
        weights = torch.tensor(metadata["weight"].to_numpy(np.float32))
        return cls(training_set.latents[:], weights, metadata["text"].tolist())


Gradients = list[np.ndarray | None]
"""One array per trained parameter, in their order; None for a parameter without a gradient."""


class Plan(NamedTuple):
    """Hold the settings of a training, and the seed and round that determine its random choices."""

    settings: "FinetuneSettings"
    seed: int
    round_number: int

    @property
    def micro_batches(self) -> int:
        """Return the micro-batches of a step."""
        return -(-self.settings.batch_size // (self.settings.micro_batch_size or self.settings.batch_size))


class Replica:
    """Compute gradients of some micro-batches, and update the adapter with those of all.

    Args:
        model: opened, without an adapter.
        parent: to continue, if the settings say so.
        checkpoint: a file of the training's state, which is continued; None for none.
    """

    def __init__(
        self, model: DiffusionModel, parent: Adapter, rows: TrainingRows, plan: Plan, checkpoint: Path | None
    ) -> None:
        self.model, self.plan, self.checkpoint = model, plan, checkpoint
        settings, seed, round_number = plan
        torch.manual_seed(seed * 1_000_003 + round_number)
        if settings.adapter == "continue":
            model.load_adapter(parent, trainable=True, dropout=settings.lora_dropout)
            self._lora = {name: value for name, value in parent.info.items() if name == "lora"}
        else:
            model.add_adapter(settings)
            self._lora = settings.record
        if model.dtype != torch.float32:
            leave_casts_to_autocast(model.denoiser)
        self._parameters = [parameter for parameter in model.denoiser.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(self._parameters, lr=settings.learning_rate, weight_decay=1e-4)
        average = [parameter.detach().clone() for parameter in self._parameters]
        self._state = TrainingState(self._parameters, [optimizer], average)
        self._update_average = get_ema_multi_avg_fn(settings.ema_decay)
        self._data = _TrainingData.of(model, rows)
        model.release_encoders()
        self._order = _sample_order(len(rows.texts), settings.steps * settings.batch_size, seed, round_number)
        model.denoiser.train()
        if settings.gradient_checkpointing:
            model.denoiser.enable_gradient_checkpointing()
        use_runtime(model.denoiser, settings.runtime, changed=True)
        self._start = self._state.load(checkpoint) if checkpoint else 0
        self._own: list[Gradients] = []

    def start(self) -> int:
        """Return the number of finished steps."""
        return self._start

    def backward(self, step: int, numbers: Sequence[int] | None = None) -> list[float]:
        """Compute gradients of the step's micro-batches; return their losses, whose sum is the batch's mean loss.

        Args:
            numbers: of consecutive micro-batches, whose gradients are kept one by one for `add`; None for all, whose
                gradients are added where `update` finds them.
        """
        self._state.optimizers[0].zero_grad()
        self._own, losses = [], []
        for number in range(self.plan.micro_batches) if numbers is None else numbers:
            losses.append(self._micro_batch(step, number))
            if numbers is not None:
                self._own.append([_array(parameter.grad) for parameter in self._parameters])
                self._state.optimizers[0].zero_grad()
        return losses

    def _micro_batch(self, step: int, number: int) -> float:
        settings, data = self.plan.settings, self._data
        chosen = self._order[step * settings.batch_size : (step + 1) * settings.batch_size]
        generator = _step_generator(self.plan, step)
        dropped = torch.rand(len(chosen), generator=generator) < settings.condition_dropout
        own_seed = _micro_batch_seed(self.plan, step, number)
        torch.manual_seed(own_seed)  # for a network with dropout
        if number:
            generator = torch.Generator().manual_seed(own_seed)
        size = settings.micro_batch_size or len(chosen)
        rows, without_prompt = chosen.split(size)[number], dropped.split(size)[number]
        condition = data.conditioning.rows(data.text_rows[rows]).to(self.model.device)
        condition = condition.replace(without_prompt, data.no_prompt)
        latents = data.latents[rows].to(self.model.device, torch.float32)
        kind, narrow = self.model.device.type, self.model.dtype != torch.float32
        # Gradient checkpointing repeats the forward pass in the backward pass, where the mode does not hold.
        wide_attention = narrow and kind == "cpu" and not settings.gradient_checkpointing
        with (
            Float32Attention() if wide_attention else nullcontext(),
            torch.autocast(kind, self.model.dtype, enabled=narrow),
        ):
            each = self.model.training_loss(latents, condition, generator, settings)
        loss = (each * data.weights[rows].to(each.device)).sum() / len(chosen)
        loss.backward()
        return loss.item()

    def add(self, before: Gradients | None) -> Gradients:
        """Add the gradients of `backward`, in order, to the sum of those of earlier micro-batches."""
        total = before
        for own in self._own:
            total = own if total is None else [_sum(*pair) for pair in zip(total, own, strict=True)]
        assert total is not None
        return total

    def update(self, gradients: Gradients | None = None) -> None:
        """Take the optimizer's step with the whole batch's gradients; None: those that `backward` left."""
        if gradients is not None:
            for parameter, gradient in zip(self._parameters, gradients, strict=True):
                parameter.grad = None if gradient is None else torch.tensor(gradient).to(parameter)
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._state.optimizers[0].step()
        self._update_average(self._state.average, self._parameters, 0)

    def save(self, losses: list[float]) -> None:
        """Write the state; `losses` are those of all steps since the replica was opened."""
        assert self.checkpoint is not None
        self._state.losses[self._start :] = losses
        self._state.save(self.checkpoint)

    def finish(self, losses: list[float]) -> tuple[Adapter, list[float]]:
        """Return the averaged adapter, with its scale alone as record, and the losses of all steps."""
        self._state.losses[self._start :] = losses
        self.model.denoiser.eval()
        with torch.no_grad():
            for parameter, mean in zip(self._parameters, self._state.average, strict=True):
                parameter.copy_(mean)
        return Adapter(self.model.export_adapter(), self._lora), self._state.losses


@dataclass(frozen=True)
class _TrainingData:
    """One row per image, but `conditioning` has one per distinct text, whose row `text_rows` holds for each image."""

    latents: Tensor
    weights: Tensor
    conditioning: Conditioning
    text_rows: Tensor
    no_prompt: Conditioning

    @classmethod
    def of(cls, model: DiffusionModel, rows: TrainingRows) -> "_TrainingData":
        text_rows, texts = pd.factorize(np.array(rows.texts, dtype=object))
        return cls(
            latents=rows.latents,
            weights=rows.weights,
            conditioning=join_conditionings(model.conditioning([text]).to(torch.device("cpu")) for text in texts),
            text_rows=torch.tensor(text_rows),
            no_prompt=model.no_prompt,
        )


def _step_generator(plan: Plan, step: int) -> torch.Generator:
    """Return the generator of a step's dropped prompts and, after them, of its first micro-batch's noise."""
    return torch.Generator().manual_seed((plan.seed * 1009 + plan.round_number) * 1_000_003 + step)


def _micro_batch_seed(plan: Plan, step: int, number: int) -> int:
    key = f"{plan.seed}/{plan.round_number}/{step}/{number}"
    return int(hashlib.sha256(key.encode()).hexdigest()[:15], 16)


def _sample_order(count: int, needed: int, seed: int, round_number: int) -> Tensor:
    """Return positions in the training set: each once before any repeats."""
    generator = torch.Generator().manual_seed(seed * 1009 + round_number)
    epochs = -(-needed // count)
    return torch.cat([torch.randperm(count, generator=generator) for _ in range(epochs)])[:needed]


def _array(gradient: Tensor | None) -> np.ndarray | None:
    return None if gradient is None else gradient.detach().cpu().numpy()


def _sum(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second
