"""Define conditioning: the named tensors that a denoiser reads of prompts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """The conditioning of n prompts.

    Attributes:
        tensors: by the name of the pipeline's argument (`prompt_embeds`, …); the first axis of each is the prompt.
    """

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def rows(self, rows: Tensor | slice) -> "Conditioning":
        """Return the conditioning of these prompts."""
        return Conditioning({name: tensor[rows] for name, tensor in self.tensors.items()})

    def to(self, device: torch.device) -> "Conditioning":
        """Return the same conditioning on a device."""
        return Conditioning({name: tensor.to(device) for name, tensor in self.tensors.items()})

    def repeat(self, count: int) -> "Conditioning":
        """Return one prompt's conditioning for `count` samples, in the same memory."""
        return Conditioning({name: tensor.expand(count, *tensor.shape[1:]) for name, tensor in self.tensors.items()})

    def replace(self, rows: Tensor, other: "Conditioning") -> "Conditioning":
        """Put one prompt's conditioning (`other`) into the rows where the mask [n] is true."""
        replaced = {}
        for name, tensor in self.tensors.items():
            mask = rows.to(tensor.device).reshape(-1, *[1] * (tensor.dim() - 1))
            replaced[name] = torch.where(mask, other[name], tensor)
        return Conditioning(replaced)

    def zeros(self) -> "Conditioning":
        """Return zeros of the same shapes."""
        return Conditioning({name: torch.zeros_like(tensor) for name, tensor in self.tensors.items()})


def join_conditionings(parts: Iterable[Conditioning]) -> Conditioning:
    """Join conditionings in their order."""
    parts = list(parts)
    return Conditioning({name: torch.cat([part[name] for part in parts]) for name in parts[0].tensors})
