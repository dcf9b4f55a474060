"""Define LoRA adapters: weights under diffusers' own names, and a record of how they were trained."""

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
