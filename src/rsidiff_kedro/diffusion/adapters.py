"""A LoRA adapter as a value: its weights under diffusers' own names, and where they come from."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

WEIGHTS_NAME = "pytorch_lora_weights.safetensors"
INFO_NAME = "adapter.json"


@dataclass(frozen=True)
class Adapter:
    """LoRA weights that an unmodified diffusers pipeline loads with `load_lora_weights`.

    Attributes:
        weights: tensors by diffusers' key (`unet.….lora_A.weight`).
        info: base model, round, parent's digest, training parameters, and whatever else its maker records.
    """

    weights: dict[str, Tensor]
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """12 hex digits of the SHA-256 of names, shapes and values."""
        digest = hashlib.sha256()
        for name in sorted(self.weights):
            tensor = self.weights[name].detach().cpu().contiguous()
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())  # NumPy has no bfloat16
        return digest.hexdigest()[:12]
