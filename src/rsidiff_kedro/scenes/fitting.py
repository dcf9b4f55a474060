"""One training loop for the embedded model's networks: Muon and AdamW, cosine, moving average, resume after a kill."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from rsidiff_kedro.errors import InputError
from rsidiff_kedro.torch_files import load_torch_file


class ResumeError(InputError):
    """What is left of a killed training cannot be gone on from."""


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


class MuonAdamW:
    """Muon for the weights of linear and convolutional layers, AdamW for the rest, with one learning rate.

    Muon (Jordan et al. 2024) makes the update of a weight matrix orthogonal; scaled to AdamW's update size as in
    arXiv 2502.16982. On the scenes' denoiser it needed some half of the samples that AdamW did.
    """

    def __init__(self, network: nn.Module, learning_rate: float) -> None:
        layers = (nn.Linear, nn.Conv2d)
        self.matrices = [module.weight for module in network.modules() if isinstance(module, layers)]
        inside = {id(weight) for weight in self.matrices}
        rest = [parameter for parameter in network.parameters() if id(parameter) not in inside]
        # Muon takes matrices alone: a convolution's weight is shown to it as one, on the same memory.
        self._flat = [weight.detach().flatten(1) for weight in self.matrices]
        self._muon = torch.optim.Muon(self._flat, lr=learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        self._adamw = torch.optim.AdamW(rest, lr=learning_rate, weight_decay=1e-4, fused=True)

    def step(self, learning_rate: float) -> None:
        """Update all weights from their gradients."""
        for flat, weight in zip(self._flat, self.matrices, strict=True):
            flat.grad = None if weight.grad is None else weight.grad.flatten(1)
        for optimizer in (self._muon, self._adamw):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()

    def state_dict(self) -> dict[str, object]:
        """Both optimizers' states."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from a state that `state_dict` gave."""
        self._muon.load_state_dict(state["muon"])
        self._adamw.load_state_dict(state["adamw"])


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

    Raises:
        ResumeError: what lies at `checkpoint` is cut, damaged or another training's.
    """
    parameters = list(network.parameters())
    optimizer = MuonAdamW(network, schedule.learning_rate)
    average = [parameter.detach().clone() for parameter in parameters]
    losses: list[float] = []
    start = 0
    if checkpoint is not None and checkpoint.exists():
        average, losses, start = _load(checkpoint, network, optimizer)
    network.train()
    total = 0.0
    for step in tqdm(range(start, schedule.steps), initial=start, total=schedule.steps, desc=title, unit="step"):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        loss = loss_of_batch(generator)
        network.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step(schedule.learning_rate * _cosine(step, schedule))
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


def _load(path: Path, network: nn.Module, optimizer: MuonAdamW) -> tuple[list[Tensor], list[float], int]:
    """Put a kept state into the network and the optimizer; the moving average, the losses and the step that is next."""
    try:
        state = load_torch_file(path)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        average, losses, step = list(state["average"]), [float(loss) for loss in state["losses"]], int(state["step"])
        kinds = [[(each.shape, each.dtype) for each in tensors] for tensors in (average, list(network.parameters()))]
        if kinds[0] != kinds[1] or step < 1:
            raise ValueError("its moving average is another network's, or its step is none")
    except (RuntimeError, ValueError, LookupError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ResumeError(f"{path} is no state that this training can go on from ({reason}); delete it") from error
    return average, losses, step


def _save(
    path: Path,
    network: nn.Module,
    optimizer: MuonAdamW,
    average: list[Tensor],
    losses: list[float],
    step: int,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state | {"average": average, "losses": losses, "step": step}, unfinished)
    unfinished.replace(path)
