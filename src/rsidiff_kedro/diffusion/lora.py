"""Describe a LoRA adapter under peft's names, and check that a network has the layers that it is to change."""

import re
from typing import Annotated, Any, Literal

import torch
from annotated_types import Len
from diffusers.training_utils import cast_training_params
from peft import LoraConfig
from peft.utils import set_peft_model_state_dict
from pydantic import AfterValidator, Field
from torch import nn

from rsidiff_kedro.core.adapter import Adapter, AdapterError, check_layers
from rsidiff_kedro.core.section import Section, Text
from rsidiff_kedro.core.untrusted.loading import loading, reason

SHOWN = 20
"""Names of layers in an error."""


def _is_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression ({error})") from None
    return text


class LoraSettings(Section):
    """Settings of a LoRA adapter, named as peft's except `rank` (peft's r) and `layers`.

    The update of a layer is its factors' product times lora_alpha / rank, or lora_alpha / sqrt(rank) if `use_rslora`.

    Attributes:
        rank: of the LoRA factors.
        layers: that get an adapter: attention, or all (attention, feed-forward and convolutions).
        target_modules: names of layers, or one regular expression on whole names, in place of `layers`.
        lora_alpha: None for the rank.
        lora_dropout: share of a layer's inputs that its adapter does not see in training.
        use_dora: also train the length of each output's weights (DoRA, arXiv 2402.09353); slower.
        use_rslora: divide by the root of the rank (rsLoRA, arXiv 2312.03732).
    """

    rank: int = Field(16, ge=1, le=512)
    layers: Literal["attention", "all"] = "all"
    target_modules: Annotated[Text, AfterValidator(_is_pattern)] | Annotated[tuple[Text, ...], Len(1)] | None = None
    lora_alpha: float | None = Field(default=None, gt=0, le=4096)
    lora_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    use_dora: bool = False
    use_rslora: bool = False

    def config(self, targets: str) -> LoraConfig:
        """Describe a LoRA whose second factor starts at zero, on `target_modules` or else these targets."""
        chosen = self.target_modules if self.target_modules is not None else targets
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.rank if self.lora_alpha is None else self.lora_alpha,  # type: ignore[arg-type]
            lora_dropout=self.lora_dropout,
            use_dora=self.use_dora,
            use_rslora=self.use_rslora,
            init_lora_weights="gaussian",
            target_modules=chosen if isinstance(chosen, str) else list(chosen),
        )

    @property
    def record(self) -> dict[str, Any]:
        """Return what an adapter's weights do not tell; nothing for a plain one of scale one on a family's layers."""
        alpha = float(self.rank if self.lora_alpha is None else self.lora_alpha)
        found = {"lora_alpha": alpha, "use_dora": self.use_dora, "use_rslora": self.use_rslora}
        plain = self.target_modules is None and found == {"lora_alpha": self.rank, "use_dora": 0, "use_rslora": 0}
        return {} if plain else {"lora": found}


def add_lora(denoiser: Any, settings: LoraSettings, targets: str) -> None:
    """Add a fresh trainable LoRA, whose second factor is zero, as peft's adapter "default".

    Args:
        denoiser: a network of diffusers, which may be on the meta device.
        targets: a regular expression on the names of layers, in place of which `target_modules` may name others.

    Raises:
        AdapterError: a layer of `target_modules` does not exist, or is of a kind that can have no adapter.
    """
    if settings.target_modules is None:
        denoiser.add_adapter(settings.config(targets), adapter_name="default")
        return
    layers = [name for name, layer in denoiser.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    ends = dict.fromkeys(re.sub(r"^.*\.(?=\D)", "", name) for name in layers)
    advice = f"name some, such as {', '.join(sorted(ends)[:SHOWN])}, or set finetune.target_modules=null"
    is_pattern = isinstance(settings.target_modules, str)
    for target in [settings.target_modules] if isinstance(settings.target_modules, str) else settings.target_modules:
        if not any(_is_named(name, target, is_pattern) for name in layers):
            kind = type(denoiser).__name__
            raise AdapterError(
                f"finetune.target_modules: {target!r} is no linear layer or convolution of the {kind}; {advice}"
            )
    with loading(lambda error: AdapterError(f"finetune.target_modules: {reason(error)}; {advice}")):
        denoiser.add_adapter(settings.config(targets), adapter_name="default")


def load_lora(denoiser: Any, adapter: Adapter, component: str, dropout: float = 0.0) -> None:
    """Load an adapter into a network, a pipeline's `component`; raise AdapterError if it belongs to another network."""
    check_layers(adapter, {name: tuple(each.shape) for name, each in denoiser.named_parameters()}, f"{component}.")
    # Clone: peft keeps the given tensors, and training changes them in place.
    weights = {name: value.clone() for name, value in adapter.weights.items()}
    metadata = None  # diffusers then takes a plain LoRA of scale one
    if adapter.info.get("lora") or dropout:
        metadata = {**adapter.lora_metadata, f"{component}.lora_dropout": dropout}
    # Load into the denoiser alone: the pipeline's own method warns about text encoders without an adapter.
    denoiser.load_lora_adapter(weights, component, adapter_name="default", metadata=metadata)


def restore_lora(denoiser: Any, adapter: Adapter, component: str) -> None:
    """Give a loaded adapter its exact float32 values again: loading rounded them to the network's dtype."""
    cast_training_params(denoiser, dtype=torch.float32)
    exact = {name.removeprefix(f"{component}."): value for name, value in adapter.weights.items()}
    set_peft_model_state_dict(denoiser, exact, adapter_name="default")


def _is_named(name: str, target: str, is_pattern: bool) -> bool:
    """Tell whether a layer is meant, as peft understands it."""
    if is_pattern:
        return re.fullmatch(target, name) is not None
    return name == target or name.endswith(f".{target}")
