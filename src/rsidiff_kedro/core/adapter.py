"""Define LoRA adapters: weights under diffusers' own names, and a record of how they were trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.tensor_files import digest_of

WEIGHTS_NAME = "pytorch_lora_weights.safetensors"
INFO_NAME = "adapter.json"


class AdapterError(InputError):
    """An adapter of another base model; the message names the model that it belongs to."""


@dataclass(frozen=True)
class Adapter:
    """LoRA weights that an unmodified diffusers pipeline loads with `load_lora_weights`.

    Attributes:
        weights: tensors by diffusers' key (`unet.….lora_A.weight`).
        info: base model, round, the parent's digest, training parameters and other records.
    """

    weights: dict[str, Tensor]
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Return 12 hex digits of the SHA-256 of names, shapes and values."""
        return digest_of(self.weights)[:12]


def check_base(adapter: Adapter, base: str, name: str) -> None:
    """Raise AdapterError if the adapter was trained on another base than `base`; `name` is for the message."""
    trained_on = adapter.info.get("base_model", base)
    if trained_on != base:
        raise AdapterError(
            f"{name} was trained on the base model {trained_on!r}, but model.base is {base!r}; set "
            f"model.base={trained_on}, or run all rounds again"
        )


def check_layers(adapter: Adapter, shapes: Mapping[str, tuple[int, ...]], prefix: str) -> None:
    """Raise AdapterError unless each weight belongs to a layer of the network and has its width.

    Args:
        shapes: of the network's parameters, by name.
        prefix: of the adapter's names.
    """
    for name, tensor in adapter.weights.items():
        layer, _, factor = name.removeprefix(prefix).partition(".lora_")
        size = shapes.get(f"{layer}.weight")
        # The first factor has the layer's input width, the second its output width.
        side = 1 if factor.startswith("A") else 0
        if size is None or tensor.ndim < 2 or tensor.shape[side] != size[side]:
            layer_size = "does not exist" if size is None else f"has {list(size)}"
            raise AdapterError(
                f"the adapter of round {adapter.info.get('round')} does not fit the model: {name} has the shape "
                f"{list(tensor.shape)}, its layer {layer_size}; use the model that it was trained on "
                f"({adapter.info.get('base_model')}), or run all rounds again"
            )
