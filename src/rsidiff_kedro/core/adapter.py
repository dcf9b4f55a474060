"""Define LoRA adapters: weights under diffusers' own names, and a record of how they were trained."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.tensor_files import digest_of

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_NAME = "pytorch_lora_weights.safetensors"
INFO_NAME = "adapter.json"


class AdapterError(InputError):
    """An adapter that a model or a format cannot take; the message says why."""


@dataclass(frozen=True)
class Adapter:
    """LoRA weights that an unmodified diffusers pipeline loads with `load_lora_weights`.

    Attributes:
        weights: tensors by diffusers' key (`unet.….lora_A.weight`).
        info: base model and its content (see `base_record`), round, the parent's digest, training parameters and
            other records; `lora` holds peft's lora_alpha, use_dora and use_rslora, unless the adapter is a plain one of
            scale one.
    """

    weights: "dict[str, Tensor]"
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Return 12 hex digits of the SHA-256 of names, shapes and values, and of `info["lora"]`."""
        digest, lora = digest_of(self.weights), self.info.get("lora")
        if lora:
            digest = hashlib.sha256((digest + json.dumps(lora, sort_keys=True)).encode()).hexdigest()
        return digest[:12]

    @property
    def rank(self) -> int:
        """Return the number of rows of the first factors."""
        return next(len(value) for name, value in self.weights.items() if ".lora_A" in name)

    @property
    def scale(self) -> float:
        """Return the number by which the factors' product is multiplied."""
        lora = self.info.get("lora") or {}
        return float(lora.get("lora_alpha", self.rank)) / self.rank ** (0.5 if lora.get("use_rslora") else 1)

    @property
    def layers(self) -> list[str]:
        """Return the names of the layers that it changes, as the network has them, sorted."""
        return sorted({name.partition(".lora_")[0].partition(".")[2] for name in self.weights})

    @property
    def lora_metadata(self) -> dict[str, Any]:
        """Return peft's settings of the adapter by the names under which diffusers writes and reads them."""
        prefix = next(iter(self.weights)).partition(".")[0]
        lora = self.info.get("lora") or {}
        settings = {
            "r": self.rank,
            "lora_alpha": float(lora.get("lora_alpha", self.rank)),
            "use_dora": bool(lora.get("use_dora")),
            "use_rslora": bool(lora.get("use_rslora")),
            "target_modules": "|".join(map(re.escape, self.layers)),  # a list would mean every name that ends so
        }
        return {f"{prefix}.{name}": value for name, value in settings.items()}


def check_layers(adapter: Adapter, shapes: Mapping[str, tuple[int, ...]], prefix: str) -> None:
    """Raise AdapterError unless each weight belongs to a layer of the network and has its width.

    Args:
        shapes: of the network's parameters, by name.
        prefix: of the adapter's names.
    """
    for name, tensor in adapter.weights.items():
        layer, _, factor = name.removeprefix(prefix).partition(".lora_")
        size = shapes.get(f"{layer}.weight")
        # The first factor has the layer's input width, the second its output width, as DoRA's lengths have.
        side = 1 if factor.startswith("A") else 0
        if factor == "magnitude_vector":
            fits = size is not None and tensor.numel() == size[0]
        else:
            fits = size is not None and tensor.ndim >= 2 and tensor.shape[side] == size[side]
        if not fits:
            layer_size = "does not exist" if size is None else f"has {list(size)}"
            raise AdapterError(
                f"the adapter of round {adapter.info.get('round')} does not fit the model: {name} has the shape "
                f"{list(tensor.shape)}, its layer {layer_size}; use the model that it was trained on "
                f"({adapter.info.get('base_model')}), or run all rounds again"
            )
