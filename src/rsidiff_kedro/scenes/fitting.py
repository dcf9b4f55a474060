"""One training loop for the embedded model's networks: AdamW, cosine, moving average, resume after a kill."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network is trained."""

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 100
    ema_decay: float = 0.999
    """Decay a step of the moving average of the weights, which is what training returns."""
    checkpoint_every: int = 500


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
        loss_of_batch: draws a batch with the generator given and returns its loss; the generator depends on seed and
            step alone, so that a resumed run goes on as before.
        checkpoint: where the state is kept every `checkpoint_every` steps; an existing one is resumed.

    Returns:
        The mean loss of every 50 steps.
    """
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=schedule.learning_rate, weight_decay=1e-4, fused=True)
    average = [parameter.detach().clone() for parameter in parameters]
    losses: list[float] = []
    start = 0
    if checkpoint is not None and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        average, losses, start = state["average"], state["losses"], state["step"]
    network.train()
    total = 0.0
    for step in tqdm(range(start, schedule.steps), initial=start, total=schedule.steps, desc=title, unit="step"):
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * _cosine(step, schedule)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        loss = loss_of_batch(generator)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        decay = min(schedule.ema_decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(average, [parameter.detach() for parameter in parameters], 1 - decay)
        total += loss.item()
        if (step + 1) % 50 == 0:
            losses.append(total / 50)
            total = 0.0
        if checkpoint is not None and (step + 1) % schedule.checkpoint_every == 0:
            _save(checkpoint, network, optimizer, average, losses, step + 1)
    with torch.no_grad():
        for parameter, mean in zip(parameters, average, strict=True):
            parameter.copy_(mean)
    network.eval()
    return losses


def _cosine(step: int, schedule: Schedule) -> float:
    """Linear warm-up, then a cosine to 2 % of the learning rate."""
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    share = (step - schedule.warmup_steps) / max(schedule.steps - schedule.warmup_steps, 1)
    return 0.02 + 0.49 * (1 + float(torch.cos(torch.tensor(share * torch.pi))))


def _save(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: list[Tensor],
    losses: list[float],
    step: int,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state | {"average": average, "losses": losses, "step": step}, unfinished)
    unfinished.replace(path)
