"""Save all that a training needs to continue as if it had never stopped, as one safetensors file."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rsidiff_kedro.core.files import replacing


@dataclass(frozen=True)
class TrainingState:
    """Trained weights, optimizers, moving average, losses so far and torch's random states.

    Attributes:
        parameters: trained in place.
        optimizers: of these parameters; their states' tensors are kept, not the groups' settings.
        average: moving average of the weights, one tensor per parameter.
        losses: one per finished step.
    """

    parameters: list[torch.nn.Parameter]
    optimizers: list[torch.optim.Optimizer]
    average: list[Tensor]
    losses: list[float] = field(default_factory=list)

    def _own(self) -> Iterator[tuple[str, int, Tensor]]:
        """Yield weights and their averages, with their kind and number."""
        for kind, values in (("parameter", self.parameters), ("average", self.average)):
            yield from ((kind, number, value) for number, value in enumerate(values))

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        tensors = {f"{kind}.{number}": value.detach() for kind, number, value in self._own()}
        for which, optimizer in enumerate(self.optimizers):
            for number, values in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{which}.{number}.{name}": value for name, value in values.items()}
        tensors["losses"] = torch.tensor(self.losses, dtype=torch.float64)
        tensors["random.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        with replacing(path) as partial:
            save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, partial)

    @torch.no_grad()
    def load(self, path: Path) -> int:
        """Restore the state from a file; return the number of finished steps, 0 if there is no sound file."""
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError):
            return 0
        wanted = {f"{kind}.{number}": value.shape for kind, number, value in self._own()}
        if {"losses", "random.cpu"} - tensors.keys() or any(
            name not in tensors or tensors[name].shape != shape for name, shape in wanted.items()
        ):
            return 0
        for kind, number, value in self._own():
            value.copy_(tensors[f"{kind}.{number}"])
        for which, optimizer in enumerate(self.optimizers):
            optimizer.load_state_dict(optimizer.state_dict() | {"state": _optimizer_state(tensors, which)})
        self.losses[:] = tensors["losses"].tolist()
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random.cuda"])
        return len(self.losses)


def _optimizer_state(tensors: dict[str, Tensor], which: int) -> dict[int, dict[str, Tensor]]:
    """Return one optimizer's tensors by parameter and name."""
    state: dict[int, dict[str, Tensor]] = {}
    prefix = f"optimizer.{which}."
    for key, value in tensors.items():
        if key.startswith(prefix):
            number, name = key.removeprefix(prefix).split(".", 1)
            state.setdefault(int(number), {})[name] = value
    return state
