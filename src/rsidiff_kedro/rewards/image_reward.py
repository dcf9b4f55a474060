"""ImageReward (arXiv 2304.05977) on transformers' BLIP modules. Its file, options and traps: docs/rewards.md."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor, nn
from transformers import BlipConfig
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

from rsidiff_kedro.core.section import Section
from rsidiff_kedro.rewards.checkpoints import (
    build_network,
    check_source,
    check_weights,
    config_beside,
    describe_file,
    fetch,
    read_weights,
)
from rsidiff_kedro.rewards.encoding import Computing, image_key, in_micro_batches
from rsidiff_kedro.rewards.head import ScoreHead
from rsidiff_kedro.rewards.preprocessing import shortest_side_cropped
from rsidiff_kedro.rewards.tokenizers import open_bert_tokenizer

HUB_ID = "THUDM/ImageReward"
OFFICIAL_FILE = "ImageReward.pt"
BERT = "google-bert/bert-base-uncased"
MAX_TOKENS = 35
MEAN, STANDARD_DEVIATION = 0.16717362830052426, 1.0333394966054072
"""Of the head's output on the authors' data; a score is in these standard deviations."""

_UNUSED = ("blip.vision_proj.", "blip.text_proj.")
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
"""The official names and ours, in order."""


class ImageRewardSettings(Section):
    """ImageReward; fields as in `Hpsv2Settings`; the tokenizer is BERT's."""

    checkpoint: str = Field(default=HUB_ID, min_length=1)
    revision: str | None = None
    tokenizer: str = Field(default=BERT, min_length=1)


class ImageRewardNetwork(nn.Module):
    """BLIP's vision transformer, its text encoder that attends to the image, and a head on the first token."""

    def __init__(self, config: BlipConfig) -> None:
        super().__init__()
        self.vision = BlipVisionModel(config.vision_config)
        self.text = BlipTextModel(config.text_config, add_pooling_layer=False)
        self.head = ScoreHead(config.text_config.hidden_size)


def blip_large() -> BlipConfig:
    """ImageReward's architecture: ViT-L/16 and BERT base."""
    vision = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 16,
        "image_size": 224,
        "layer_norm_eps": 1e-6,
    }
    text = {"vocab_size": 30524, "num_attention_heads": 12, "encoder_hidden_size": 1024, "is_decoder": True}
    return _eager(BlipConfig(vision_config=vision, text_config=text))


def _eager(config: BlipConfig) -> BlipConfig:
    """BLIP's modules have no other attention; the text encoder has its attention to the image as a decoder alone."""
    config.text_config.is_decoder = True
    config.text_config.encoder_hidden_size = config.vision_config.hidden_size
    for part in (config.vision_config, config.text_config):
        part._attn_implementation = "eager"
    return config


def from_official(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names of `ImageRewardNetwork`; names that are no ImageReward's stay as they are."""
    renamed = {}
    for name, tensor in weights.items():
        if name.startswith(_UNUSED):
            continue
        new = name
        for pattern, replacement in _NAMES:
            new = re.sub(pattern, replacement, new)
        renamed[new] = tensor
    return renamed


class ImageRewardReward:
    """Scores images and prompts together; comparable within a prompt alone."""

    def __init__(
        self,
        checkpoint: str = HUB_ID,
        tokenizer: str = BERT,
        revision: str | None = None,
        **computing: Any,
    ) -> None:
        """Open the model.

        Args:
            checkpoint: the official `.pt`, a folder that holds it, or a Hugging Face id.
            tokenizer: BERT's (uncased): a local folder or a Hugging Face id.
            revision: of the checkpoint's Hugging Face id.
            computing: device, dtype, micro_batch_size; see `Computing`.

        Raises:
            CheckpointError: the checkpoint or the tokenizer is missing, broken or of another model.
        """
        self.computing = Computing(**computing)
        path = fetch(checkpoint, OFFICIAL_FILE, revision)
        config, weights = _config(checkpoint), from_official(read_weights(path))
        check_weights(lambda: ImageRewardNetwork(config), weights, path)
        self.tokenizer = open_bert_tokenizer(tokenizer, config.text_config.vocab_size)
        network = build_network(lambda: ImageRewardNetwork(config), weights, self.computing.dtype)
        self.network = network.to(self.computing.place)
        self.image_size: int = config.vision_config.image_size
        self.record: dict[str, Any] = {
            "checkpoint": checkpoint,
            "revision": revision,
            **describe_file(path),
            "tokenizer": tokenizer,
            **self.computing.record,
        }

    @classmethod
    def check(cls, checkpoint: str = HUB_ID, tokenizer: str = BERT, revision: str | None = None, **_: Any) -> None:
        """Raise CheckpointError unless the model would open, as far as is seen in a second."""
        path = check_source(checkpoint, OFFICIAL_FILE, revision)
        config = _config(checkpoint)
        if path is not None:
            check_weights(lambda: ImageRewardNetwork(config), from_official(read_weights(path)), path)
        open_bert_tokenizer(tokenizer, config.text_config.vocab_size)

    @torch.no_grad()
    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Scores, in the authors' standard deviations: float32 [n].

        Each distinct image passes the vision transformer once and each distinct pair the text encoder once; no more
        images are held than are computed at once.
        """
        keys = [image_key(image) for image in images]
        places = {key: place for place, key in enumerate(keys)}
        pairs = list(dict.fromkeys(zip(keys, prompts, strict=True)))
        size, order = self.computing.micro_batch_size, list(places)
        scores: dict[Any, float] = {}
        for start in range(0, len(order), size):
            here = order[start : start + size]
            states = dict(zip(here, in_micro_batches(images, size, self._see, [places[key] for key in here])))
            of_these = [pair for pair in pairs if pair[0] in states]
            results = in_micro_batches([(states[key], prompt) for key, prompt in of_these], size, self._read)
            scores |= {pair: float(score) for pair, score in zip(of_these, results, strict=True)}
        return np.array([scores[pair] for pair in zip(keys, prompts, strict=True)], np.float32)

    def _see(self, images: list[Image.Image]) -> Tensor:
        """The vision transformer's states: [n, places, width]."""
        pixels = torch.stack([shortest_side_cropped(image, self.image_size, True) for image in images])
        vision = self.network.vision
        states: Tensor = vision(pixel_values=pixels.to(vision.device, vision.dtype)).last_hidden_state
        return states

    def _read(self, pairs: list[tuple[Tensor, str]]) -> Tensor:
        """Scores of pairs of an image's states and a prompt: float32 [n]."""
        text = self.network.text
        tokens = self.tokenizer(
            [prompt for _, prompt in pairs],
            padding="max_length",
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        ).to(text.device)
        states = torch.stack([states for states, _ in pairs]).to(text.device)
        first = text(
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            encoder_hidden_states=states,
            encoder_attention_mask=torch.ones(states.shape[:2], dtype=torch.long, device=text.device),
            is_decoder=False,
        ).last_hidden_state[:, 0]
        return (self.network.head(first)[:, 0].float() - MEAN) / STANDARD_DEVIATION


def _config(checkpoint: str) -> BlipConfig:
    beside = config_beside(checkpoint, BlipConfig)
    return _eager(beside) if beside is not None else blip_large()
