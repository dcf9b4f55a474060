"""Describe a LoRA adapter under peft's names, and check that a network has the layers that it is to change."""

import copy
import re
from collections.abc import Mapping
from typing import Any

import torch
from diffusers.training_utils import cast_training_params
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import set_peft_model_state_dict
from torch import nn

from rsidiff_kedro.core.adapter import Adapter, AdapterError, check_layers
from rsidiff_kedro.core.untrusted.loading import loading, reason
from rsidiff_kedro.diffusion.settings import FinetuneSettings, LoraSettings

SHOWN = 20
"""Names of layers in an error."""
_KEPT = 0.99
"""The share of each layer's change that rounding must keep, for an adapter to be fused into narrow weights."""


def lora_config(settings: LoraSettings, targets: str) -> LoraConfig:
    """Describe a LoRA whose second factor starts at zero, on `target_modules` or else these targets."""
    chosen = settings.target_modules if settings.target_modules is not None else targets
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.rank if settings.lora_alpha is None else settings.lora_alpha,  # type: ignore[arg-type]
        lora_dropout=settings.lora_dropout,
        use_dora=settings.use_dora,
        use_rslora=settings.use_rslora,
        init_lora_weights="gaussian",
        target_modules=chosen if isinstance(chosen, str) else list(chosen),
    )


def add_lora(denoiser: Any, settings: LoraSettings, targets: str) -> None:
    """Add a fresh trainable LoRA, whose second factor is zero, as peft's adapter "default".

    Args:
        denoiser: a network of diffusers, which may be on the meta device.
        targets: a regular expression on the names of layers, in place of which `target_modules` may name others.

    Raises:
        AdapterError: a layer of `target_modules` does not exist, or is of a kind that can have no adapter.
    """
    if settings.target_modules is None:
        denoiser.add_adapter(lora_config(settings, targets), adapter_name="default")
        return
    layers = _possible_layers(denoiser)
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
        denoiser.add_adapter(lora_config(settings, targets), adapter_name="default")


def with_lora_of(
    parent: Adapter, settings: FinetuneSettings, denoiser: Any, targets: Mapping[str, str]
) -> FinetuneSettings:
    """Return the settings with the LoRA that the parent has; what means the same stays as it is written.

    Args:
        parent: whose weights and scale tell rank, layers and the rest.
        denoiser: the network of both, without an adapter; None if it is unknown, which leaves the layers as they are.
        targets: regular expressions on the names of layers, by `layers`.
    """
    recorded, rank = parent.info.get("lora") or {}, parent.rank
    kept: dict[str, Any] = {name: bool(recorded.get(name)) for name in ("use_dora", "use_rslora")} | {"rank": rank}
    alpha = float(recorded.get("lora_alpha", rank))
    if alpha != (rank if settings.lora_alpha is None else settings.lora_alpha):
        kept["lora_alpha"] = None if alpha == rank else alpha
    if denoiser is not None and _layers(denoiser, settings, targets) != parent.layers:
        choices: list[dict[str, Any]] = [{"layers": name, "target_modules": None} for name in targets]
        named = {"target_modules": "|".join(map(re.escape, parent.layers))}
        same = (
            each for each in choices if _layers(denoiser, settings.model_copy(update=each), targets) == parent.layers
        )
        kept |= next(same, named)
    return settings.model_copy(update=kept)


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


def leave_casts_to_autocast(denoiser: Any) -> None:
    """Keep an adapter's layers from widening their inputs to its dtype: autocast would narrow them at once."""
    for layer in _adapted(denoiser):
        layer.cast_input_dtype_enabled = False


def round_lora(denoiser: Any, dtype: torch.dtype) -> None:
    """Round a loaded adapter's values to the network's dtype, in which it computes beside the weights."""
    for layer in _adapted(denoiser):
        for name in layer.adapter_layer_names:
            getattr(layer, name).to(dtype)


def survives_rounding(denoiser: Any) -> bool:
    """Tell whether a loaded adapter that is fused into the weights is still there once they are rounded to their dtype.

    A change of less than half the distance between a weight and the next number of its dtype is lost. So measure, layer
    by layer, how much of the change D is left in the rounded change R: <R, D> / <D, D>, which is 1 if nothing is lost.
    The adapter's own values should be exact; see `restore_lora`.
    """
    return all(_kept(layer) >= _KEPT for layer in _adapted(denoiser))


def _adapted(denoiser: Any) -> list[Any]:
    return [layer for layer in denoiser.modules() if isinstance(layer, BaseTunerLayer)]


def _kept(layer: Any) -> float:
    """Return the share of a layer's change that rounding keeps; 1 where nothing changes."""
    before = layer.get_base_layer().weight.detach()
    exact = copy.deepcopy(layer).float()
    exact.merge()
    after = exact.get_base_layer().weight.detach()
    change = after - before.float()
    if not change.any():
        return 1.0
    rounded = after.to(before.dtype).float() - before.float()
    return float((rounded * change).sum() / (change * change).sum())


def _possible_layers(denoiser: Any) -> list[str]:
    """Return the names of the layers that can have an adapter."""
    return [name for name, layer in denoiser.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]


def _layers(denoiser: Any, settings: LoraSettings, targets: Mapping[str, str]) -> list[str]:
    """Return the names of the layers that a fresh adapter would change, sorted."""
    chosen = targets[settings.layers] if settings.target_modules is None else settings.target_modules
    is_pattern, each = isinstance(chosen, str), [chosen] if isinstance(chosen, str) else chosen
    return sorted(
        name for name in _possible_layers(denoiser) if any(_is_named(name, target, is_pattern) for target in each)
    )


def _is_named(name: str, target: str, is_pattern: bool) -> bool:
    """Tell whether a layer is meant, as peft understands it."""
    if is_pattern:
        return re.fullmatch(target, name) is not None
    return name == target or name.endswith(f".{target}")
