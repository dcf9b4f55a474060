"""Train the embedded model's networks: Muon and AdamW, cosine, moving average, resume after a kill."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.diffusion.training_state import TrainingState


class FitError(InputError):
    """A training that diverges with these settings."""


LOGGED_EVERY = 50
"""Steps per row of the log."""


@dataclass(frozen=True)
class Schedule:
    """Length and learning rate of a training.

    Attributes:
        ema_decay: per step, of the moving average of the weights, which training returns.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 100
    ema_decay: float = 0.999
    checkpoint_every: int = 500


class MuonAdamW:
    """Muon for the weights of linear and convolutional layers, AdamW for the rest, with one learning rate.

    Muon (Jordan et al. 2024) makes the update of a weight matrix orthogonal, scaled to AdamW's as in arXiv 2502.16982.
    On the scenes' denoiser it needed about half of AdamW's samples.
    """

    def __init__(self, network: nn.Module, learning_rate: float) -> None:
        layers = (nn.Linear, nn.Conv2d)
        self.matrices = [module.weight for module in network.modules() if isinstance(module, layers)]
        inside = {id(weight) for weight in self.matrices}
        rest = [parameter for parameter in network.parameters() if id(parameter) not in inside]
        # Muon takes only matrices: pass a convolution's weight as one, in the same memory.
        self._flat = [weight.detach().flatten(1) for weight in self.matrices]
        muon = torch.optim.Muon(self._flat, lr=learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        self.parts = [muon, torch.optim.AdamW(rest, lr=learning_rate, weight_decay=1e-4, fused=True)]

    def step(self, learning_rate: float) -> None:
        """Update all weights from their gradients."""
        for flat, weight in zip(self._flat, self.matrices, strict=True):
            flat.grad = None if weight.grad is None else weight.grad.flatten(1)
        for optimizer in self.parts:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()


def fit(
    network: nn.Module,
    loss_of_batch: Callable[[torch.Generator], Tensor],
    schedule: Schedule,
    seed: int,
    title: str,
    checkpoint: Path | None = None,
) -> list[float]:
    """Train a network in place and leave the moving average of its weights in it.

    Args:
        loss_of_batch: samples a batch with a generator, which depends on seed and step only, and returns its loss.
        checkpoint: file of the state, saved every `checkpoint_every` steps; an existing one is resumed.

    Returns:
        The mean loss of every `LOGGED_EVERY` steps.

    Raises:
        FitError: the loss is NaN or infinite.
    """
    parameters = list(network.parameters())
    optimizer = MuonAdamW(network, schedule.learning_rate)
    state = TrainingState(parameters, optimizer.parts, [parameter.detach().clone() for parameter in parameters])
    start = state.load(checkpoint) if checkpoint is not None else 0
    network.train()
    for step in tqdm(range(start, schedule.steps), initial=start, total=schedule.steps, desc=title, unit="step"):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        loss = loss_of_batch(generator)
        network.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step(schedule.learning_rate * _cosine(step, schedule))
        decay = min(schedule.ema_decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(state.average, [parameter.detach() for parameter in parameters], step)
        state.losses.append(loss.item())
        if not math.isfinite(state.losses[-1]):
            raise FitError(
                f"{title}: the loss is {state.losses[-1]} at step {step}; lower its learning_rate (now "
                f"{schedule.learning_rate}) in base_model"
            )
        if checkpoint is not None and (step + 1) % schedule.checkpoint_every == 0:
            state.save(checkpoint)
    with torch.no_grad():
        for parameter, mean in zip(parameters, state.average, strict=True):
            parameter.copy_(mean)
    network.eval()
    ends = range(LOGGED_EVERY, schedule.steps + 1, LOGGED_EVERY)
    return [sum(state.losses[end - LOGGED_EVERY : end]) / LOGGED_EVERY for end in ends]


def _cosine(step: int, schedule: Schedule) -> float:
    """Return the learning rate's factor: linear warm-up, then a cosine to 2 %."""
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    share = (step - schedule.warmup_steps) / max(schedule.steps - schedule.warmup_steps, 1)
    return 0.02 + 0.49 * (1 + float(torch.cos(torch.tensor(share * torch.pi))))
