"""kohya's names: ComfyUI finds a layer for every tensor of full-size adapters, and the update stays what it was.

`comfy_unet` and `comfy_mmdit` restate which names ComfyUI (comfy/lora.py, comfy/utils.py) looks for: the layers of a
checkpoint's own format, and a UNet's under their names in diffusers too.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import SD3Transformer2DModel, StableDiffusionXLPipeline, UNet2DConditionModel
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from rsidiff_kedro.core.adapter import Adapter, AdapterError
from rsidiff_kedro.diffusion.families import FAMILIES
from rsidiff_kedro.diffusion.kohya import kohya_weights
from rsidiff_kedro.diffusion.lora import add_lora
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.settings import LoraSettings, ModelSettings

SD1 = {
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
SDXL = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
SD3 = {"num_layers": 24, "num_attention_heads": 24, "joint_attention_dim": 4096, "caption_projection_dim": 1536}
SD35 = {**SD3, "dual_attention_layers": tuple(range(13)), "qk_norm": "rms_norm"}

# depths of the transformers: of each downward block, in the middle, of each upward block
SD1_DEPTHS = ((1, 1, 1, 0), 1, (0, 1, 1, 1))
SDXL_DEPTHS = ((0, 2, 10), 10, (10, 2, 0))


def comfy_unet(down: tuple[int, ...], middle: int, up: tuple[int, ...]) -> Iterator[str]:
    """Yield the layers of a UNet, two residual blocks per level, that ComfyUI's table has under diffusers' names."""
    resnet = ("conv1", "conv2", "time_emb_proj", "conv_shortcut")
    within = [f"attn{n}.{layer}" for n in (1, 2) for layer in ("to_q", "to_k", "to_v", "to_out.0")]
    within += ["ff.net.0.proj", "ff.net.2"]
    levels = [("down_blocks", 2, down), ("up_blocks", 3, up)]
    places = [(f"{side}.{n}", count, depth) for side, count, depths in levels for n, depth in enumerate(depths)]
    for place, count, depth in [*places, ("mid_block", 2, middle)]:
        for block in range(count):
            yield from (f"{place}.resnets.{block}.{layer}" for layer in resnet)
            if depth and (place, block) != ("mid_block", 1):
                yield from (f"{place}.attentions.{block}.{layer}" for layer in ("proj_in", "proj_out"))
                for n in range(depth):
                    yield from (f"{place}.attentions.{block}.transformer_blocks.{n}.{layer}" for layer in within)


def comfy_mmdit(depth: int, dual: int = 0) -> Iterator[str]:
    """Yield the linear layers of the blocks of Stable Diffusion 3's own code; the last one has no text output."""
    for n in range(depth):
        for side in ("x_block", "context_block"):
            yield f"joint_blocks.{n}.{side}.attn.qkv"
            if side == "x_block" or n < depth - 1:
                yield from (f"joint_blocks.{n}.{side}.{layer}" for layer in ("attn.proj", "mlp.fc1", "mlp.fc2"))
        if n < dual:
            yield from (f"joint_blocks.{n}.x_block.attn2.{layer}" for layer in ("qkv", "proj"))


def comfy_reads(layers: Iterator[str]) -> set[str]:
    """Return every key that ComfyUI reads for these layers."""
    names = {f"lora_unet_{layer.replace('.', '_')}" for layer in layers}
    return {f"{name}.{end}" for name in names for end in ("lora_up.weight", "lora_down.weight", "alpha")}


def adapter_of(family: str, config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the adapter on all layers of a full-size network, without memory for its numbers."""
    kind = FAMILIES.load(family)
    with torch.device("meta"):
        denoiser = kind.denoiser_class(**config)
        add_lora(denoiser, LoraSettings(rank=4), kind.lora_targets["all"])
    return {f"{kind.denoiser_name}.{name}": each for name, each in get_peft_model_state_dict(denoiser).items()}


@pytest.mark.parametrize(
    ("family", "config", "read", "tensors"),
    [
        ("stable_diffusion", SD1, comfy_unet(*SD1_DEPTHS), 500),
        ("stable_diffusion_xl", SDXL, comfy_unet(*SDXL_DEPTHS), 1534),
        ("stable_diffusion_3", SD3, comfy_mmdit(24), 570),
        ("stable_diffusion_3", SD35, comfy_mmdit(24, dual=13), 674),
    ],
    ids=["1.5", "xl", "3", "3.5"],
)
def test_comfyui_reads_every_tensor_of_a_full_size_adapter(
    family: str, config: dict[str, Any], read: Iterator[str], tensors: int
) -> None:
    adapter = adapter_of(family, config)
    named = kohya_weights(Adapter(adapter), FAMILIES.load(family).denoiser_class)
    assert named.keys() - comfy_reads(read) == set()
    assert len(adapter) == tensors
    merged = sum("attn_qkv" in name or "attn2_qkv" in name for name in named)  # each holds three layers
    assert len(named) == tensors // 2 * 3 - 2 * merged


def trained(model: Any, layers: str, strength: float = 0.3) -> dict[str, torch.Tensor]:
    model.add_adapter(LoraSettings(rank=4, layers=layers))
    weights = model.export_adapter()
    model.remove_adapter()
    generator = torch.Generator().manual_seed(0)
    return {name: strength * torch.randn(each.shape, generator=generator) for name, each in weights.items()}


def update(named: dict[str, torch.Tensor], layer: str) -> torch.Tensor:
    """Return what a program adds to a layer's weight: alpha over rank times the product of the factors."""
    down, up = named[f"{layer}.lora_down.weight"], named[f"{layer}.lora_up.weight"]
    return (named[f"{layer}.alpha"] / len(down)) * (up.flatten(1) @ down.flatten(1))


def test_alpha_holds_the_adapters_scale(family_folder: Callable[[str], Path]) -> None:
    half = {"lora": {"lora_alpha": 1.0, "use_rslora": True}}  # 1 / sqrt(4)
    for family, kind, layer in [
        ("stable_diffusion", UNet2DConditionModel, "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"),
        ("stable_diffusion_3", SD3Transformer2DModel, "lora_unet_joint_blocks_0_x_block_attn_qkv"),
    ]:
        weights = trained(load_model(ModelSettings(family=family, base=str(family_folder(family)))), "attention")
        plain, scaled = (kohya_weights(Adapter(weights, info), kind) for info in ({}, half))
        torch.testing.assert_close(update(scaled, layer), 0.5 * update(plain, layer))


def test_a_dora_is_refused_because_no_program_computes_it_as_it_was_trained() -> None:
    weights = {"unet.a.lora_A.weight": torch.ones(2, 2), "unet.a.lora_magnitude_vector": torch.ones(2)}
    with pytest.raises(AdapterError, match="cannot hold this DoRA"):
        kohya_weights(Adapter(weights), UNet2DConditionModel)


@pytest.mark.parametrize("family", ["stable_diffusion", "stable_diffusion_xl"])
def test_a_unet_is_updated_as_before(family_folder: Callable[[str], Path], family: str) -> None:
    model = load_model(ModelSettings(family=family, base=str(family_folder(family)), device="cpu"))
    weights = trained(model, "all")
    named = kohya_weights(Adapter(weights), UNet2DConditionModel)
    for name, down in weights.items():
        if ".lora_A" in name:
            up, layer = weights[name.replace("lora_A", "lora_B")], name.partition(".lora_A")[0].replace(".", "_")
            assert torch.equal(update(named, f"lora_{layer}"), up.flatten(1) @ down.flatten(1))
            assert named[f"lora_{layer}.lora_down.weight"].shape == down.shape  # of a convolution, too


def test_stable_diffusion_3_is_updated_as_before(family_folder: Callable[[str], Path]) -> None:
    base = str(family_folder("stable_diffusion_3"))
    weights = trained(load_model(ModelSettings(family="stable_diffusion_3", base=base, device="cpu")), "all")
    named = kohya_weights(Adapter(weights), SD3Transformer2DModel)

    def before(layer: str) -> torch.Tensor:
        path = f"transformer.transformer_blocks.0.{layer}"
        return weights[f"{path}.lora_B.weight"] @ weights[f"{path}.lora_A.weight"]

    for layer, parts in {
        "x_block_attn_qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
        "context_block_attn_qkv": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
        "x_block_mlp_fc2": ["ff.net.2"],
    }.items():
        wanted = torch.cat([before(part) for part in parts])
        torch.testing.assert_close(update(named, f"lora_unet_joint_blocks_0_{layer}"), wanted)


def test_diffusers_own_loader_reads_the_file_as_it_reads_ours(
    family_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = family_folder("stable_diffusion_xl")
    model = load_model(ModelSettings(family="stable_diffusion_xl", base=str(folder), device="cpu"))
    weights = trained(model, "attention")
    save_file(weights, tmp_path / "ours.safetensors")
    save_file(kohya_weights(Adapter(weights), UNet2DConditionModel), tmp_path / "kohya.safetensors")
    images = {}
    for name in (None, "ours", "kohya"):
        pipeline = StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
        pipeline.set_progress_bar_config(disable=True)
        if name:
            pipeline.load_lora_weights(tmp_path, weight_name=f"{name}.safetensors")
        noise = torch.Generator().manual_seed(0)
        images[name] = pipeline("a red circle", num_inference_steps=2, generator=noise, output_type="np").images
    np.testing.assert_allclose(images["kohya"], images["ours"], atol=1e-5)
    assert np.abs(images[None] - images["ours"]).max() > 0.01


def test_a_network_without_names_is_refused() -> None:
    with pytest.raises(AdapterError, match="no names for the layers of a Linear"):
        kohya_weights(Adapter({}), torch.nn.Linear)
    layer = {f"transformer.proj_out.lora_{side}.weight": torch.zeros(2, 2) for side in "AB"}
    with pytest.raises(AdapterError, match=r"no name for the layer transformer\.proj_out"):
        kohya_weights(Adapter(layer), SD3Transformer2DModel)
    query = {f"transformer.transformer_blocks.0.attn.to_q.lora_{side}.weight": torch.zeros(2, 2) for side in "AB"}
    with pytest.raises(AdapterError, match=r"has not all of attn\.to_q, attn\.to_k, attn\.to_v"):
        kohya_weights(Adapter(query), SD3Transformer2DModel)
