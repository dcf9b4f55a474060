"""Save the whole state of a training as one safetensors file, so that a killed run continues to the same result."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rsidiff_kedro.core.tensor_files import load_tensors, save_tensors


@dataclass(frozen=True)
class TrainingState:
    """Trained weights, optimizers, moving average and losses so far; each step seeds its own random numbers.

    Attributes:
        parameters: trained in place.
        optimizers: of these parameters; the file holds their states' tensors without the groups' settings.
        average: moving average of the weights, one tensor per parameter.
        losses: one per finished step.
    """

    parameters: list[torch.nn.Parameter]
    optimizers: list[torch.optim.Optimizer]
    average: list[Tensor]
    losses: list[float] = field(default_factory=list)

    def _weights(self) -> dict[str, Tensor]:
        kinds = {"parameter": self.parameters, "average": self.average}
        return {f"{kind}.{number}": value for kind, values in kinds.items() for number, value in enumerate(values)}

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        tensors = self._weights()
        for which, optimizer in enumerate(self.optimizers):
            for number, values in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{which}.{number}.{name}": value for name, value in values.items()}
        tensors["losses"] = torch.tensor(self.losses, dtype=torch.float64)
        save_tensors(tensors, path)

    @torch.no_grad()
    def load(self, path: Path) -> int:
        """Restore the state from a file; return the number of finished steps, 0 if there is no sound file."""
        tensors = load_tensors(path)
        if tensors is None:
            return 0
        weights = self._weights()
        shapes = {name: value.shape for name, value in tensors.items()}
        wanted = {name: value.shape for name, value in weights.items()}
        if "losses" not in tensors or not wanted.items() <= shapes.items():
            return 0
        for name, value in weights.items():
            value.copy_(tensors[name])
        states: dict[str, Any] = defaultdict(lambda: defaultdict(dict))
        for key in tensors:
            kind, *place = key.split(".", 3)
            if kind == "optimizer":
                which, number, name = place
                states[which][int(number)][name] = tensors[key]
        for index, optimizer in enumerate(self.optimizers):
            optimizer.load_state_dict(optimizer.state_dict() | {"state": states[str(index)]})
        self.losses[:] = tensors["losses"].tolist()
        return len(self.losses)


def saved_steps(path: Path) -> int:
    """Return the number of finished steps that a file holds; 0 if there is no sound file."""
    tensors = load_tensors(path)
    return len(tensors["losses"]) if tensors is not None and "losses" in tensors else 0
