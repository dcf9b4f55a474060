"""Score with ImageReward (arXiv 2304.05977) on transformers' BLIP; docs/rewards.md has files, options and pitfalls."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import BlipConfig
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

from rsidiff_kedro.rewards.checkpoints import config_beside, read_weights, rename, unique_names
from rsidiff_kedro.rewards.encoding import image_key, in_micro_batches
from rsidiff_kedro.rewards.head import ScoreHead
from rsidiff_kedro.rewards.model import PreferenceModel
from rsidiff_kedro.rewards.preprocessing import shortest_side_cropped
from rsidiff_kedro.rewards.settings import BERT, IMAGE_REWARD
from rsidiff_kedro.rewards.tokenizers import open_bert_tokenizer

MEAN, STANDARD_DEVIATION = 0.16717362830052426, 1.0333394966054072
"""Of the head's output on the authors' data; scores are standardized by them."""

MOST_TOKENS = 35
"""Of a prompt, as in the official package."""

_NAMES = (
    (r"^blip\.visual_encoder\.patch_embed\.proj\.", "vision.embeddings.patch_embedding."),
    (r"^blip\.visual_encoder\.cls_token$", "vision.embeddings.class_embedding"),
    (r"^blip\.visual_encoder\.pos_embed$", "vision.embeddings.position_embedding"),
    (r"^blip\.visual_encoder\.norm\.", "vision.post_layernorm."),
    (r"^blip\.visual_encoder\.blocks\.(\d+)\.norm([12])\.", r"vision.encoder.layers.\1.layer_norm\2."),
    (r"^blip\.visual_encoder\.blocks\.(\d+)\.attn\.qkv\.", r"vision.encoder.layers.\1.self_attn.qkv."),
    (r"^blip\.visual_encoder\.blocks\.(\d+)\.attn\.proj\.", r"vision.encoder.layers.\1.self_attn.projection."),
    (r"^blip\.visual_encoder\.blocks\.(\d+)\.mlp\.", r"vision.encoder.layers.\1.mlp."),
    (r"^blip\.text_encoder\.", "text."),
    (r"^mlp\.layers\.", "head.layers."),
)
"""The official names and those of `ImageRewardNetwork`."""


class ImageRewardNetwork(nn.Module):
    """BLIP's vision transformer, its text encoder that attends to the image, and a head on the first token."""

    def __init__(self, config: BlipConfig) -> None:
        super().__init__()
        self.vision = BlipVisionModel(config.vision_config)
        self.text = BlipTextModel(config.text_config, add_pooling_layer=False)
        self.head = ScoreHead(config.text_config.hidden_size)


def from_official(weights: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Rename weights to those of `ImageRewardNetwork` and drop unused ones; unknown names stay."""
    unused = ("blip.vision_proj.", "blip.text_proj.")
    used = ((rename(name, _NAMES), tensor) for name, tensor in weights.items() if not name.startswith(unused))
    return unique_names(used, path)


class ImageRewardReward(PreferenceModel):
    """Scores images and prompts together; scores are comparable within a prompt only."""

    hub_id: ClassVar[str] = IMAGE_REWARD
    tokenizer_id: ClassVar[str | None] = BERT
    file_name: ClassVar[str] = "ImageReward.pt"
    network_class: ClassVar[Any] = ImageRewardNetwork
    open_tokenizer: ClassVar[Any] = staticmethod(open_bert_tokenizer)
    reads_prompt: ClassVar[tuple[str, ...]] = ("text.",)

    @torch.no_grad()
    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Return scores in the authors' standard deviations: float32 [n].

        Each distinct image passes the vision transformer once and each distinct pair the text encoder once; memory
        holds one micro-batch of images at a time.
        """
        keys = [image_key(image) for image in images]
        places = {key: place for place, key in enumerate(keys)}
        pairs = list(dict.fromkeys(zip(keys, prompts, strict=True)))
        size, order = self.computing.micro_batch_size, list(places)
        scores: dict[Any, float] = {}
        for start in range(0, len(order), size):
            here = order[start : start + size]
            states = dict(zip(here, in_micro_batches(images, size, self._see, [places[key] for key in here])))
            selected = [pair for pair in pairs if pair[0] in states]
            results = in_micro_batches([(states[key], prompt) for key, prompt in selected], size, self._read)
            scores |= {pair: float(score) for pair, score in zip(selected, results, strict=True)}
        return np.array([scores[pair] for pair in zip(keys, prompts, strict=True)], np.float32)

    def _see(self, images: list[Image.Image]) -> Tensor:
        """Return the vision transformer's states: [n, places, width]."""
        pixels = torch.stack([shortest_side_cropped(image, self.image_size, True) for image in images])
        vision = self.network.vision
        return vision(pixel_values=pixels.to(vision.device, vision.dtype)).last_hidden_state

    def _read(self, pairs: list[tuple[Tensor, str]]) -> Tensor:
        """Score pairs of an image's states and a prompt: float32 [n]."""
        states, prompts = torch.stack([states for states, _ in pairs]), [prompt for _, prompt in pairs]
        first = self._first_states(self.network, self.tokenizer, states, prompts)
        return (self.network.head(first)[:, 0].float() - MEAN) / STANDARD_DEVIATION

    @classmethod
    def _embed_prompts(cls, network: Any, tokenizer: Any, prompts: list[str]) -> Tensor:
        width = network.text.config.encoder_hidden_size
        blank = torch.zeros(len(prompts), 1, width, dtype=network.text.dtype)
        return cls._first_states(network, tokenizer, blank, prompts)

    @staticmethod
    def _first_states(network: Any, tokenizer: Any, states: Tensor, prompts: list[str]) -> Tensor:
        """Return the text encoder's states of the first token, with an image's states for each prompt: [n, width]."""
        text = network.text
        limits = {"padding": "max_length", "truncation": True, "max_length": MOST_TOKENS}
        tokens = tokenizer(prompts, return_tensors="pt", **limits).to(text.device)
        states = states.to(text.device)
        return text(
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            encoder_hidden_states=states,
            encoder_attention_mask=torch.ones(states.shape[:2], dtype=torch.long, device=text.device),
            is_decoder=False,
        ).last_hidden_state[:, 0]

    @classmethod
    def _most_tokens(cls, config: Any) -> int:
        return MOST_TOKENS

    @classmethod
    def _weights(cls, path: Path) -> dict[str, Tensor]:
        return from_official(read_weights(path), path)

    @classmethod
    def _config(cls, checkpoint: str, revision: str | None) -> BlipConfig:
        """Read a configuration next to the checkpoint, or return the official one: ViT-L/16 and BERT base."""
        layers = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
        vision = {**layers, "patch_size": 16, "image_size": 224, "layer_norm_eps": 1e-6}
        text = {"vocab_size": 30524, "num_attention_heads": 12}
        config = config_beside(checkpoint, BlipConfig) or BlipConfig(vision_config=vision, text_config=text)
        config.text_config.is_decoder = True  # only a decoder attends to the image
        config.text_config.encoder_hidden_size = config.vision_config.hidden_size
        for part in (config.vision_config, config.text_config):
            part._attn_implementation = "eager"  # BLIP has no other attention
        return config
