"""Rename an adapter's weights for ComfyUI, AUTOMATIC1111's web UI and kohya's sd-scripts.

These programs call a layer `lora_unet_<its path with underscores>` and keep a scale, `alpha`, beside its two factors.
They know a UNet's layers by diffusers' names. Stable Diffusion 3's they know by the names of the original code, where
one layer computes queries, keys and values.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_kohya
from torch import Tensor

from rsidiff_kedro.core.adapter import Adapter, AdapterError

_BLOCK = re.compile(r"transformer\.transformer_blocks\.(\d+)\.(.+)")
_LAYERS = {
    "attn.to_out.0": "x_block_attn_proj",
    "attn2.to_out.0": "x_block_attn2_proj",
    "attn.to_add_out": "context_block_attn_proj",
    "ff.net.0.proj": "x_block_mlp_fc1",
    "ff.net.2": "x_block_mlp_fc2",
    "ff_context.net.0.proj": "context_block_mlp_fc1",
    "ff_context.net.2": "context_block_mlp_fc2",
}
_MERGED = {
    "x_block_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block_attn2_qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "context_block_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
_Factors = tuple[Tensor, Tensor]


def kohya_weights(adapter: Adapter, denoiser_class: Any) -> dict[str, Tensor]:
    """Return an adapter's weights under kohya's names, with each layer's alpha: its scale times its rank.

    Args:
        adapter: of any scale.
        denoiser_class: of the network that it belongs to.

    Raises:
        AdapterError: kohya's format knows no such network, or not one of these layers, or the adapter is a DoRA.
    """
    weights = adapter.weights
    if any("lora_magnitude_vector" in name for name in weights):
        raise AdapterError(
            "kohya's format cannot hold this DoRA: ComfyUI divides by the length of the base's weights, AUTOMATIC1111 "
            "by that of the inputs', kohya's sd-scripts have none, and images would differ; use diffusers'"
        )
    if issubclass(denoiser_class, UNet2DConditionModel):
        named = convert_state_dict_to_kohya(dict(weights))
        return {
            name: adapter.scale * value.float() if name.endswith(".alpha") else value for name, value in named.items()
        }
    if not issubclass(denoiser_class, SD3Transformer2DModel):
        raise AdapterError(f"kohya's format has no names for the layers of a {denoiser_class.__name__}; use diffusers'")
    named = {}
    for name, (down, up) in _sd3_layers(_factors(weights)).items():
        named |= {
            f"lora_unet_{name}.lora_down.weight": down,
            f"lora_unet_{name}.lora_up.weight": up,
            f"lora_unet_{name}.alpha": torch.tensor(adapter.scale * len(down)),
        }
    return named


def _factors(weights: Mapping[str, Tensor]) -> dict[str, _Factors]:
    """Return both factors by their layer."""
    layers = dict.fromkeys(name.partition(".lora_")[0] for name in weights)
    return {name: (weights[f"{name}.lora_A.weight"], weights[f"{name}.lora_B.weight"]) for name in layers}


def _sd3_layers(factors: dict[str, _Factors]) -> dict[str, _Factors]:
    """Return the factors by the original code's layers."""
    found: dict[str, _Factors] = {}
    blocks: dict[str, dict[str, _Factors]] = {}
    for name, pair in factors.items():
        match = _BLOCK.fullmatch(name)
        if match is None:
            raise AdapterError(f"kohya's format has no name for the layer {name}; use diffusers'")
        blocks.setdefault(match[1], {})[match[2]] = pair
    for number, layers in blocks.items():
        for merged, parts in _MERGED.items():
            have = [layers.pop(part) for part in parts if part in layers]
            if len(have) == len(parts):
                # Three updates of parts of one output are one update of three times the rank.
                found[f"joint_blocks_{number}_{merged}"] = (
                    torch.cat([down for down, _ in have]),
                    torch.block_diag(*(up for _, up in have)),
                )
            elif have:
                raise AdapterError(f"block {number} of the adapter has not all of {', '.join(parts)}; use diffusers'")
        for layer, pair in layers.items():
            if layer not in _LAYERS:
                raise AdapterError(f"kohya's format has no name for the layer {layer}; use diffusers'")
            found[f"joint_blocks_{number}_{_LAYERS[layer]}"] = pair
    return found
