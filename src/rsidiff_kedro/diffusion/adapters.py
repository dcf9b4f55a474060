"""A LoRA adapter as a value: its weights under diffusers' own names, and where they come from."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rsidiff_kedro.errors import InputError

WEIGHTS_NAME = "pytorch_lora_weights.safetensors"
INFO_NAME = "adapter.json"


class AdapterError(InputError):
    """An adapter does not belong to the model; the message says to which it does."""


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


def check_base(adapter: Adapter, base: str, name: str) -> None:
    """Raise AdapterError if the adapter records that it was trained on another base model.

    Args:
        base: the parameter model.base.
        name: the adapter's, for the message.
    """
    trained_on = adapter.info.get("base_model", base)
    if trained_on != base:
        raise AdapterError(
            f"{name} was trained on the base model {trained_on!r}, but model.base is {base!r}; set "
            f"model.base={trained_on}, or run all rounds anew"
        )


def check_fit(adapter: Adapter, network: nn.Module, network_name: str) -> None:
    """Raise AdapterError unless each weight belongs to a layer of the network, of its width."""
    sizes = {name: weight.shape for name, weight in network.named_parameters()}
    for name, tensor in adapter.weights.items():
        layer, _, factor = name.removeprefix(f"{network_name}.").partition(".lora_")
        size = sizes.get(f"{layer}.weight")
        # The first factor reads what the layer reads, the second gives what it gives.
        side = 1 if factor.startswith("A") else 0
        if size is None or tensor.ndim < 2 or tensor.shape[side] != size[side]:
            layer_size = "is not there" if size is None else f"has {list(size)}"
            raise AdapterError(
                f"the adapter of round {adapter.info.get('round')} does not fit the model: {name} has the shape "
                f"{list(tensor.shape)}, its layer {layer_size}; use the model that it was trained on "
                f"({adapter.info.get('base_model')}), or run all rounds anew"
            )
