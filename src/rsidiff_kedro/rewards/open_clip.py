"""Convert open_clip's checkpoints of ViT-H-14 to transformers' `CLIPModel`: the same network under other names."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPConfig

from rsidiff_kedro.rewards.checkpoints import rename, unique_names
from rsidiff_kedro.rewards.sources import CheckpointError

_NAMES = (
    (r"^transformer\.resblocks\.(\d+)\.", r"text_model.encoder.layers.\1."),
    (r"^visual\.transformer\.resblocks\.(\d+)\.", r"vision_model.encoder.layers.\1."),
    (r"(layers\.\d+)\.ln_([12])\.", r"\1.layer_norm\2."),
    (r"(layers\.\d+)\.attn\.", r"\1.self_attn."),
    (r"(layers\.\d+)\.mlp\.c_fc\.", r"\1.mlp.fc1."),
    (r"(layers\.\d+)\.mlp\.c_proj\.", r"\1.mlp.fc2."),
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^text_projection$", "text_projection.weight"),
    (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),  # transformers' own spelling
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.proj$", "visual_projection.weight"),
)
"""open_clip's names and transformers', applied in order."""


def vit_h_14() -> CLIPConfig:
    """Return the architecture of open_clip's ViT-H-14: exact GELU, and texts that end with the last token id."""
    tokens = {"vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 0}
    text = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    vision = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16}
    shared = {"projection_dim": 1024, "hidden_act": "gelu"}
    vision_config = {**vision, **shared, "patch_size": 14, "image_size": 224}
    return CLIPConfig(text_config={**text, **tokens, **shared}, vision_config=vision_config, projection_dim=1024)


def from_open_clip(weights: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Rename weights, transpose projections and split each block's joint in-projection into three.

    Unknown names stay, and `check_weights` reports them.

    Raises:
        CheckpointError: a tensor's shape does not allow to split or transpose it, or two get one name.
    """
    return unique_names(_renamed(weights, path), path)


def _renamed(weights: Mapping[str, Tensor], path: Path) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in weights.items():
        new = rename(name, _NAMES)
        joint = re.fullmatch(r"(.+\.self_attn\.)in_proj_(weight|bias)", new)
        if name in ("text_projection", "visual.proj"):
            if tensor.dim() != 2:
                raise CheckpointError(f"{str(path)!r}: {name} has the shape {list(tensor.shape)}, which is no matrix")
            yield new, tensor.T.contiguous()
        elif joint:
            if tensor.dim() == 0 or tensor.shape[0] % 3:
                raise CheckpointError(
                    f"{str(path)!r}: {name} has the shape {list(tensor.shape)}, not queries to values"
                )
            for part, piece in zip("qkv", torch.chunk(tensor, 3), strict=True):
                yield f"{joint[1]}{part}_proj.{joint[2]}", piece
        else:
            yield new, tensor
