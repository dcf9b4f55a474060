"""Preference models that are a CLIP: HPSv2.1 and HPSv2.0, PickScore, CLIPScore, and LAION's aesthetic predictor.

All run on transformers' `CLIPModel`. Their files, options and traps: docs/rewards.md.
"""

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import ftfy
import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel

from rsidiff_kedro.core.section import Section
from rsidiff_kedro.rewards.checkpoints import (
    CONFIG_FILE,
    build_network,
    check_source,
    check_weights,
    config_beside,
    describe_file,
    fetch,
    read_config,
    read_weights,
)
from rsidiff_kedro.rewards.encoding import Cache, Computing, image_key, in_micro_batches
from rsidiff_kedro.rewards.head import ScoreHead
from rsidiff_kedro.rewards.open_clip import from_open_clip, vit_h_14
from rsidiff_kedro.rewards.preprocessing import longest_side_padded, shortest_side_cropped
from rsidiff_kedro.rewards.tokenizers import open_clip_tokenizer

VIT_H_14 = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
VIT_L_14 = "openai/clip-vit-large-patch14"
HPSV2 = "xswu/HPSv2"
PICK_SCORE = "yuvalkirstain/PickScore_v1"
AESTHETIC_HEAD = "trl-lib/ddpo-aesthetic-predictor"


class ClipEncoder:
    """A `CLIPModel` that embeds images and prompts: float32 [n, d] of length one, on the CPU."""

    hub_id: ClassVar[str] = VIT_L_14
    """The official checkpoint's."""
    tokenizer_id: ClassVar[str | None] = None
    """The official tokenizer's, where it is not the checkpoint's own."""
    file_name: ClassVar[str] = "model.safetensors"
    """What its weights are called, in a folder and on the hub."""
    round_offset: ClassVar[bool] = False
    """How the crop is placed, see `shortest_side_cropped`."""

    def __init__(
        self,
        checkpoint: str | None = None,
        tokenizer: str | None = None,
        revision: str | None = None,
        **computing: Any,
    ) -> None:
        """Open a model.

        Args:
            checkpoint: a local folder (or file, for a `.pt`) or a Hugging Face id; None: the official one.
            tokenizer: a local folder or a Hugging Face id; None: the official one.
            revision: of the checkpoint's Hugging Face id.
            computing: device, dtype, micro_batch_size; see `Computing`.

        Raises:
            CheckpointError: the checkpoint or the tokenizer is missing, broken or of another model.
        """
        self.computing = Computing(**computing)
        checkpoint, tokenizer = self._sources(checkpoint, tokenizer)
        path = fetch(checkpoint, self.file_name, revision)
        config, weights = self._config(checkpoint, revision), self._weights(path)
        check_weights(lambda: CLIPModel(config), weights, path)
        self.tokenizer = self._tokenizer(tokenizer, config)
        network = build_network(lambda: CLIPModel(config), weights, self.computing.dtype)
        self.network = network.to(self.computing.place)
        self.image_size: int = config.vision_config.image_size
        self.record: dict[str, Any] = {
            "checkpoint": checkpoint,
            "revision": revision,
            **describe_file(path),
            "tokenizer": tokenizer,
            **self.computing.record,
        }
        self._images, self._prompts = Cache(), Cache()

    @classmethod
    def check(
        cls, checkpoint: str | None = None, tokenizer: str | None = None, revision: str | None = None, **_: Any
    ) -> None:
        """Raise CheckpointError unless `ClipEncoder` with these options would open, as far as is seen in a second.

        Of a hub's model that is not in the cache only the small files are fetched.
        """
        checkpoint, tokenizer = cls._sources(checkpoint, tokenizer)
        path = check_source(checkpoint, cls.file_name, revision)
        config = cls._config(checkpoint, revision)
        if path is not None:
            check_weights(lambda: CLIPModel(config), cls._weights(path), path)
        cls._tokenizer(tokenizer, config)

    @torch.no_grad()
    def image_features(self, images: Sequence[Image.Image]) -> Tensor:
        """Embeddings of images: float32 [n, d]."""

        def embed(batch: list[Image.Image]) -> Tensor:
            pixels = torch.stack([self.prepare(image) for image in batch]).to(self.network.device, self.network.dtype)
            pooled = self.network.vision_model(pixel_values=pixels).pooler_output
            return functional.normalize(self.network.visual_projection(pooled).float(), dim=-1)

        keys = [image_key(image) for image in images]
        return self._images.encode(keys, images, self.computing.micro_batch_size, embed)

    @torch.no_grad()
    def prompt_features(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings of prompts, each cut to the length that the network reads: float32 [n, d]."""

        def embed(batch: list[str]) -> Tensor:
            ids = self.token_ids(batch).to(self.network.device)
            pooled = self.network.text_model(input_ids=ids).pooler_output
            return functional.normalize(self.network.text_projection(pooled).float(), dim=-1)

        return self._prompts.encode(prompts, prompts, self.computing.micro_batch_size, embed)

    def embed(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Embeddings of images, of length one: float32 [n, d]; the prompts are not read."""
        if not len(images):
            return np.empty((0, self.network.config.projection_dim), np.float32)
        return self.image_features(images).numpy()

    def cosines(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """The cosine of each image's embedding and its prompt's: float32 [n].

        Raises:
            ValueError: there are not as many prompts as images.
        """
        if len(images) != len(prompts):
            raise ValueError(f"there are {len(images)} images, but {len(prompts)} prompts; give a prompt an image")
        if not len(images):
            return np.empty((0,), np.float32)
        # Not by a matrix product, whose order of additions would depend on n.
        return (self.image_features(images) * self.prompt_features(prompts)).sum(dim=1).numpy()

    def token_ids(self, prompts: list[str]) -> Tensor:
        """Token ids [n, 77]: start, text, end, and zeros, which no position up to the end attends to."""
        length = self.network.config.text_config.max_position_embeddings
        cleaned = [self.clean(prompt) for prompt in prompts]
        ids = torch.zeros(len(prompts), length, dtype=torch.long)
        for row, tokens in enumerate(self.tokenizer(cleaned, truncation=True, max_length=length).input_ids):
            ids[row, : len(tokens)] = torch.tensor(tokens)
        return ids

    def clean(self, prompt: str) -> str:
        """The prompt as the tokenizer is given it."""
        return prompt

    def prepare(self, image: Image.Image) -> Tensor:
        """The image as the network sees it: [3, size, size]."""
        return shortest_side_cropped(image, self.image_size, self.round_offset)

    @classmethod
    def _weights(cls, path: Path) -> dict[str, Tensor]:
        return read_weights(path)

    @classmethod
    def _config(cls, checkpoint: str, revision: str | None) -> CLIPConfig:
        return read_config(CLIPConfig, fetch(checkpoint, CONFIG_FILE, revision))

    @classmethod
    def _tokenizer(cls, source: str, config: CLIPConfig) -> Any:
        return open_clip_tokenizer(source, config.text_config.vocab_size)

    @classmethod
    def _sources(cls, checkpoint: str | None, tokenizer: str | None) -> tuple[str, str]:
        checkpoint = checkpoint or cls.hub_id
        return checkpoint, tokenizer or cls.tokenizer_id or checkpoint


class ClipScoreReward(ClipEncoder):
    """CLIPScore as torchmetrics scales it: 100 times the cosine, and 0 where that is negative (arXiv 2104.08718)."""

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Scores in [0, 100]: float32 [n]."""
        return 100 * np.maximum(self.cosines(images, prompts), 0)


class PickScoreReward(ClipEncoder):
    """PickScore (arXiv 2305.01569): the cosine times the model's learned scale."""

    hub_id: ClassVar[str] = PICK_SCORE
    tokenizer_id: ClassVar[str | None] = VIT_H_14

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Scores, around 20: float32 [n]."""
        return float(self.network.logit_scale.float().exp()) * self.cosines(images, prompts)


class Hpsv21Reward(ClipEncoder):
    """HPSv2.1 (arXiv 2306.09341): the cosine of an open_clip ViT-H-14, on the official `.pt`."""

    hub_id: ClassVar[str] = HPSV2
    tokenizer_id: ClassVar[str | None] = VIT_H_14
    file_name: ClassVar[str] = "HPS_v2.1_compressed.pt"

    def __init__(self, *args: Any, antialias: bool = False, **options: Any) -> None:
        """Open a model as `ClipEncoder` does; `antialias`: see `longest_side_padded`."""
        super().__init__(*args, **options)
        self.antialias = antialias
        self.record["antialias"] = antialias

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Cosines, around 0.25: float32 [n]."""
        return self.cosines(images, prompts)

    def clean(self, prompt: str) -> str:
        """As open_clip's tokenizer does: broken encodings mended, entities resolved, blanks joined, lower case."""
        return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(prompt)))).strip().lower()

    def prepare(self, image: Image.Image) -> Tensor:
        """The image as the network sees it: [3, size, size]."""
        return longest_side_padded(image, self.image_size, self.antialias)

    @classmethod
    def _weights(cls, path: Path) -> dict[str, Tensor]:
        return from_open_clip(read_weights(path), path)

    @classmethod
    def _config(cls, checkpoint: str, revision: str | None) -> CLIPConfig:
        return config_beside(checkpoint, CLIPConfig) or vit_h_14()


class Hpsv20Reward(Hpsv21Reward):
    """HPSv2.0, which the official package scores with unless it is told otherwise."""

    file_name: ClassVar[str] = "HPS_v2_compressed.pt"


class AestheticReward(ClipEncoder):
    """LAION's aesthetic predictor, version 2: a linear head on CLIP ViT-L/14; it reads no prompt."""

    round_offset: ClassVar[bool] = True
    head_file: ClassVar[str] = "aesthetic-model.pth"

    def __init__(
        self, checkpoint: str = AESTHETIC_HEAD, clip: str = VIT_L_14, revision: str | None = None, **computing: Any
    ) -> None:
        """Open the head's `checkpoint` (`revision` is its) and the CLIP model that it was trained on."""
        super().__init__(clip, **computing)
        path = fetch(checkpoint, self.head_file, revision)
        build, weights = self._head(self.network.config), read_weights(path)
        check_weights(build, weights, path)
        self.head = build_network(build, weights, "float32")
        self.record = {"clip": self.record, "checkpoint": checkpoint, "revision": revision, **describe_file(path)}

    @classmethod
    def check(  # type: ignore[override]
        cls, checkpoint: str = AESTHETIC_HEAD, clip: str = VIT_L_14, revision: str | None = None, **_: Any
    ) -> None:
        """See `ClipEncoder.check`."""
        super().check(clip)
        path = check_source(checkpoint, cls.head_file, revision)
        if path is not None:
            check_weights(cls._head(cls._config(clip, None)), read_weights(path), path)

    @torch.no_grad()
    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """How pleasing the images are, 1 to 10: float32 [n]; the prompts are not read."""
        size = self.computing.micro_batch_size
        scores = in_micro_batches(
            list(self.image_features(images)) if len(images) else [],
            size,
            lambda batch: self.head(torch.stack(batch))[:, 0],
        )
        return np.array([float(score) for score in scores], np.float32)

    @classmethod
    def _tokenizer(cls, source: str, config: CLIPConfig) -> Any:
        return None  # it reads no prompt

    @staticmethod
    def _head(config: CLIPConfig) -> Any:
        return lambda: ScoreHead(config.projection_dim)


class Hpsv2Settings(Section):
    """HPSv2.1 and HPSv2.0, each with its own file of one source.

    Attributes:
        checkpoint: a folder with the official files, a file, or a Hugging Face id.
        revision: of a Hugging Face id: branch, tag or commit.
        tokenizer: CLIP's: a folder or a Hugging Face id.
        antialias: how images are made smaller; the two differ by up to 0.025.
    """

    checkpoint: str = Field(default=HPSV2, min_length=1)
    revision: str | None = None
    tokenizer: str = Field(default=VIT_H_14, min_length=1)
    antialias: bool = False


class PickScoreSettings(Section):
    """PickScore, in transformers' format."""

    checkpoint: str = Field(default=PICK_SCORE, min_length=1)
    revision: str | None = None
    tokenizer: str = Field(default=VIT_H_14, min_length=1)


class ClipScoreSettings(Section):
    """CLIPScore, in transformers' format; without a tokenizer the checkpoint's own."""

    checkpoint: str = Field(default=VIT_L_14, min_length=1)
    revision: str | None = None
    tokenizer: str | None = None


class AestheticSettings(Section):
    """LAION's aesthetic predictor: a head, and the CLIP model that it was trained on."""

    checkpoint: str = Field(default=AESTHETIC_HEAD, min_length=1)
    revision: str | None = None
    clip: str = Field(default=VIT_L_14, min_length=1)
