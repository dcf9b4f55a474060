"""open_clip's checkpoints of ViT-H-14 as transformers' `CLIPModel`: the same network under other names."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPConfig

from rsidiff_kedro.rewards.checkpoints import CheckpointError

_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_WHOLE = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",  # transformers' own spelling
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "visual.proj": "visual_projection.weight",
}
_TRANSPOSED = ("text_projection", "visual.proj")
_TOWERS = {"transformer.resblocks.": "text_model", "visual.transformer.resblocks.": "vision_model"}


def vit_h_14() -> CLIPConfig:
    """The architecture of open_clip's ViT-H-14: exact gelu, and texts that end with the vocabulary's last entry."""
    tokens = {"vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 0}
    text = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    vision = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16}
    shared = {"projection_dim": 1024, "hidden_act": "gelu"}
    return CLIPConfig(
        text_config={**text, **tokens, **shared},
        vision_config={**vision, **shared, "patch_size": 14, "image_size": 224},
        projection_dim=1024,
    )


def from_open_clip(weights: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights under transformers' names: projections transposed, each block's joint in-projection cut in three.

    Names that are no open_clip's stay as they are, so that the check of the names reports them.

    Raises:
        CheckpointError: a tensor has no shape that could be cut or transposed.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        whole, block = _WHOLE.get(name), _block_name(name)
        if whole is not None:
            if name in _TRANSPOSED and tensor.dim() != 2:
                raise CheckpointError(f"{str(path)!r}: {name} has the shape {list(tensor.shape)}, which is no matrix")
            renamed[whole] = tensor.T.contiguous() if name in _TRANSPOSED else tensor
        elif block is None:
            renamed[name] = tensor
        elif block.endswith(("in_proj_weight", "in_proj_bias")):
            if tensor.dim() == 0 or tensor.shape[0] % 3:
                raise CheckpointError(
                    f"{str(path)!r}: {name} has the shape {list(tensor.shape)}, not queries to values"
                )
            kind = block.rpartition("_")[2]
            start = block.removesuffix(f"attn.in_proj_{kind}")
            for part, piece in zip("qkv", torch.chunk(tensor, 3), strict=True):
                renamed[f"{start}self_attn.{part}_proj.{kind}"] = piece
        else:
            renamed[block] = tensor
    return renamed


def _block_name(name: str) -> str | None:
    """A block's parameter under transformers' name, the in-projection but for its last part; None if it is of none."""
    for prefix, tower in _TOWERS.items():
        if name.startswith(prefix):
            number, _, rest = name.removeprefix(prefix).partition(".")
            module, _, kind = rest.rpartition(".")
            if rest in ("attn.in_proj_weight", "attn.in_proj_bias"):
                return f"{tower}.encoder.layers.{number}.{rest}"
            if module in _BLOCK:
                return f"{tower}.encoder.layers.{number}.{_BLOCK[module]}.{kind}"
    return None
