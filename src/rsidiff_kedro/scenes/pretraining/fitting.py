"""Train the embedded model's networks: Muon and AdamW, cosine, moving average, resume after a kill."""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


class StackedMuon(torch.optim.Muon):
    """Muon that computes matrices of one shape at once: a GPU starts hundreds of small ones slower than it computes.

    Nesterov's momentum, and learning rates that match AdamW's. On a CPU it computes in float32: without instructions
    for bfloat16, torch's own takes seven times as long.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all weights from their gradients."""
        for group in self.param_groups:
            alike = defaultdict[torch.Size, list[Tensor]](list)
            for weight in group["params"]:
                if weight.grad is not None:
                    alike[weight.shape].append(weight)
            for weights in alike.values():
                self._step_of(weights, group)

    def _step_of(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        for weight in weights:
            if "momentum_buffer" not in self.state[weight]:
                self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        buffers = [self.state[weight]["momentum_buffer"] for weight in weights]
        gradients = [weight.grad for weight in weights]
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        updates = torch.stack(gradients).lerp(torch.stack(buffers), group["momentum"])
        updates = _orthogonal(updates, group["ns_coefficients"], group["ns_steps"], group["eps"]).to(weights[0].dtype)
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        rate = 0.2 * math.sqrt(max(weights[0].shape)) * group["lr"]
        torch._foreach_add_(weights, list(updates.unbind()), alpha=-rate)


def _orthogonal(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Return the nearest orthogonal matrices [n, a, b] by Newton and Schulz' iteration, as torch's Muon does of one."""
    a, b, c = coefficients
    tall = matrices.shape[1] > matrices.shape[2]
    found = (matrices.mT if tall else matrices).to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    found = found / found.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.mT if tall else found


class MuonAdamW:
    """Muon for the weights of linear and convolutional layers, AdamW for the rest, with one learning rate.

    Muon (Jordan et al. 2024) makes the update of a weight matrix orthogonal, scaled to AdamW's as in arXiv 2502.16982.
    On the scenes' denoiser it needed about half of AdamW's samples.
    """

    def __init__(self, network: nn.Module, learning_rate: float, stacked: bool = False) -> None:
        layers = (nn.Linear, nn.Conv2d)
        self.matrices = [module.weight for module in network.modules() if isinstance(module, layers)]
        inside = {id(weight) for weight in self.matrices}
        rest = [parameter for parameter in network.parameters() if id(parameter) not in inside]
        # Muon takes only matrices: pass a convolution's weight as one, in the same memory.
        self._flat = [weight.detach().flatten(1) for weight in self.matrices]
        kind = StackedMuon if stacked else torch.optim.Muon
        muon = kind(self._flat, lr=learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
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
    stacked: bool = False,
) -> list[float]:
    """Train a network in place, on its device, and leave the moving average of its weights in it.

    On a CUDA GPU it computes in mixed precision (bfloat16).

    Args:
        loss_of_batch: samples a batch with a generator of the device, which depends on seed and step only, and
            returns its loss.
        checkpoint: file of the state, saved every `checkpoint_every` steps; an existing one is resumed.
        stacked: use `StackedMuon`, as always on a GPU.

    Returns:
        The mean loss of every `LOGGED_EVERY` steps.

    Raises:
        FitError: the loss is NaN or infinite.
    """
    parameters = list(network.parameters())
    device = parameters[0].device
    optimizer = MuonAdamW(network, schedule.learning_rate, stacked or device.type == "cuda")
    state = TrainingState(parameters, optimizer.parts, [parameter.detach().clone() for parameter in parameters])
    start = state.load(checkpoint) if checkpoint is not None else 0
    waiting: list[Tensor] = []
    network.train()
    for step in tqdm(range(start, schedule.steps), initial=start, total=schedule.steps, desc=title, unit="step"):
        generator = torch.Generator(device).manual_seed(seed * 1_000_003 + step)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = loss_of_batch(generator)
        network.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step(schedule.learning_rate * _cosine(step, schedule))
        decay = min(schedule.ema_decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(state.average, [parameter.detach() for parameter in parameters], step)
        waiting.append(loss.detach())
        saves = checkpoint is not None and (step + 1) % schedule.checkpoint_every == 0
        # Reading a loss makes a GPU wait, so it is read seldom there.
        if device.type != "cuda" or saves or len(waiting) == LOGGED_EVERY or step + 1 == schedule.steps:
            state.losses.extend(torch.stack(waiting).tolist())
            waiting.clear()
            _check_losses(state.losses, schedule, title)
        if checkpoint is not None and saves:
            state.save(checkpoint)
    with torch.no_grad():
        for parameter, mean in zip(parameters, state.average, strict=True):
            parameter.copy_(mean)
    network.eval()
    ends = range(LOGGED_EVERY, schedule.steps + 1, LOGGED_EVERY)
    return [sum(state.losses[end - LOGGED_EVERY : end]) / LOGGED_EVERY for end in ends]


def _check_losses(losses: list[float], schedule: Schedule, title: str) -> None:
    """Raise FitError if the last losses are not finite."""
    if math.isfinite(losses[-1]):
        return
    step = next(step for step, loss in enumerate(losses) if not math.isfinite(loss))
    raise FitError(
        f"{title}: the loss is {losses[step]} at step {step}; lower its learning_rate (now {schedule.learning_rate}) "
        "in base_model"
    )


def _cosine(step: int, schedule: Schedule) -> float:
    """Return the learning rate's factor: linear warm-up, then a cosine to 2 %."""
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    share = (step - schedule.warmup_steps) / max(schedule.steps - schedule.warmup_steps, 1)
    return 0.02 + 0.49 * (1 + float(torch.cos(torch.tensor(share * torch.pi))))
