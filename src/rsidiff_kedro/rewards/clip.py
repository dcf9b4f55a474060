"""Score with CLIP models: HPSv2.1 and HPSv2.0, PickScore, CLIPScore, and LAION's aesthetic predictor.

All use transformers' `CLIPModel`. docs/rewards.md describes their files, options and pitfalls.
"""

import html
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import ftfy
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel

from rsidiff_kedro.core.locations import expand
from rsidiff_kedro.rewards import checkpoints, sources
from rsidiff_kedro.rewards.checkpoints import read_weights
from rsidiff_kedro.rewards.encoding import Cache, image_key, in_micro_batches
from rsidiff_kedro.rewards.head import ScoreHead
from rsidiff_kedro.rewards.model import PreferenceModel
from rsidiff_kedro.rewards.open_clip import from_open_clip, vit_h_14
from rsidiff_kedro.rewards.preprocessing import longest_side_padded, shortest_side_cropped
from rsidiff_kedro.rewards.settings import AESTHETIC_HEAD, HPSV2, PICK_SCORE, VIT_H_14, VIT_L_14
from rsidiff_kedro.rewards.sources import CONFIG_FILE, fetch
from rsidiff_kedro.rewards.tokenizers import open_clip_tokenizer


class ClipEncoder(PreferenceModel):
    """A `CLIPModel` that embeds images and prompts: float32 [n, d] of length one, on the CPU.

    Attributes:
        round_offset: how the crop is placed; see `shortest_side_cropped`.
    """

    hub_id: ClassVar[str] = VIT_L_14
    file_name: ClassVar[str] = "model.safetensors"
    network_class: ClassVar[Any] = CLIPModel
    open_tokenizer: ClassVar[Any] = staticmethod(open_clip_tokenizer)
    reads_prompt: ClassVar[tuple[str, ...]] = ("text_model.", "text_projection.")
    round_offset: ClassVar[bool] = False
    own_normalization: ClassVar[bool] = True

    def __init__(self, *args: Any, **options: Any) -> None:
        """Open a model; arguments and errors as in `PreferenceModel`."""
        super().__init__(*args, **options)
        width = self.network.config.projection_dim
        self._images, self._prompts = Cache(width), Cache(width)

    @torch.no_grad()
    def image_features(self, images: Sequence[Image.Image]) -> Tensor:
        """Embed images: float32 [n, d]."""

        def embed(batch: list[Image.Image]) -> Tensor:
            pixels = torch.stack([self.prepare(image) for image in batch]).to(self.network.device, self.network.dtype)
            pooled = self.network.vision_model(pixel_values=pixels).pooler_output
            return functional.normalize(self.network.visual_projection(pooled).float(), dim=-1)

        keys = [image_key(image) for image in images]
        return self._images.encode(keys, images, self.computing.micro_batch_size, embed)

    @torch.no_grad()
    def prompt_features(self, prompts: Sequence[str]) -> Tensor:
        """Embed prompts, each truncated to the length that the network reads: float32 [n, d]."""

        def embed(batch: list[str]) -> Tensor:
            ids = self.token_ids(batch).to(self.network.device)
            return functional.normalize(_project(self.network, ids).float(), dim=-1)

        return self._prompts.encode(prompts, prompts, self.computing.micro_batch_size, embed)

    def embed(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Embed images: float32 [n, d] of length one; the prompts are not read."""
        return self.image_features(images).numpy()

    def cosines(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Return the cosine of each image's embedding and its prompt's: float32 [n].

        Raises:
            ValueError: the numbers of images and prompts differ.
        """
        if len(images) != len(prompts):
            raise ValueError(f"there are {len(images)} images, but {len(prompts)} prompts; give one prompt per image")
        # Not by a matrix product, whose order of additions would depend on n.
        return (self.image_features(images) * self.prompt_features(prompts)).sum(dim=1).numpy()

    def token_ids(self, prompts: list[str]) -> Tensor:
        """Return token ids [n, 77]: start, text, end, and zeros, to which no earlier position attends."""
        length = self._most_tokens(self.network.config)
        cleaned = [self.clean(prompt) for prompt in prompts]
        rows = self.tokenizer(cleaned, truncation=True, max_length=length).input_ids
        return torch.tensor([row + [0] * (length - len(row)) for row in rows])

    def prepare(self, image: Image.Image) -> Tensor:
        """Return the network's input: [3, size, size]."""
        return shortest_side_cropped(image, self.image_size, self.round_offset, self.normalization)

    @classmethod
    def _embed_prompts(cls, network: Any, tokenizer: Any, prompts: list[str]) -> Tensor:
        ids = torch.tensor(tokenizer(prompts).input_ids)  # without zeros after the end, as a long prompt has none
        return _project(network, ids.to(network.text_projection.weight.device))

    @classmethod
    def _config(cls, checkpoint: str, revision: str | None) -> CLIPConfig:
        path = expand(checkpoint)
        folder = str(path.parent) if os.path.isfile(path) else checkpoint
        return checkpoints.read_config(CLIPConfig, fetch(folder, CONFIG_FILE, revision))


def _project(network: CLIPModel, ids: Tensor) -> Tensor:
    """Return the embeddings of prompts by their tokens, of any length."""
    return network.text_projection(network.text_model(input_ids=ids).pooler_output)


class ClipScoreReward(ClipEncoder):
    """CLIPScore as torchmetrics scales it: 100 times the cosine, at least 0 (arXiv 2104.08718)."""

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Return scores in [0, 100]: float32 [n]."""
        return 100 * np.maximum(self.cosines(images, prompts), 0)


class PickScoreReward(ClipEncoder):
    """PickScore (arXiv 2305.01569): the cosine times the model's learned scale."""

    hub_id: ClassVar[str] = PICK_SCORE
    tokenizer_id: ClassVar[str | None] = VIT_H_14
    own_normalization: ClassVar[bool] = False

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Return scores, around 20: float32 [n]."""
        return float(self.network.logit_scale.float().exp()) * self.cosines(images, prompts)


class Hpsv21Reward(ClipEncoder):
    """HPSv2.1 (arXiv 2306.09341): the cosine of an open_clip ViT-H-14, on the official `.pt`."""

    hub_id: ClassVar[str] = HPSV2
    tokenizer_id: ClassVar[str | None] = VIT_H_14
    file_name: ClassVar[str] = "HPS_v2.1_compressed.pt"
    own_normalization: ClassVar[bool] = False

    def __init__(self, *args: Any, antialias: bool = False, **options: Any) -> None:
        """Open a model as `ClipEncoder` does; `antialias`: see `longest_side_padded`."""
        super().__init__(*args, **options)
        self.antialias = antialias
        self.record["antialias"] = antialias

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Return cosines, around 0.25: float32 [n]."""
        return self.cosines(images, prompts)

    @staticmethod
    def clean(prompt: str) -> str:
        """Repair encodings, resolve entities, join white space and lower the case, as open_clip does."""
        return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(prompt)))).strip().lower()

    def prepare(self, image: Image.Image) -> Tensor:
        """Return the network's input: [3, size, size]."""
        return longest_side_padded(image, self.image_size, self.antialias)

    @classmethod
    def _weights(cls, path: Path) -> dict[str, Tensor]:
        return from_open_clip(read_weights(path), path)

    @classmethod
    def _config(cls, checkpoint: str, revision: str | None) -> CLIPConfig:
        return checkpoints.config_beside(checkpoint, CLIPConfig) or vit_h_14()


class Hpsv20Reward(Hpsv21Reward):
    """HPSv2.0, the official package's default."""

    file_name: ClassVar[str] = "HPS_v2_compressed.pt"


class AestheticReward(ClipEncoder):
    """LAION's aesthetic predictor, version 2: a linear head on CLIP ViT-L/14; it reads no prompt."""

    open_tokenizer: ClassVar[Any] = staticmethod(lambda source, vocabulary_size, revision: None)
    reads_prompt: ClassVar[tuple[str, ...]] = ()
    round_offset: ClassVar[bool] = True
    head_file: ClassVar[str] = "aesthetic-model.pth"

    def __init__(
        self, checkpoint: str = AESTHETIC_HEAD, clip: str = VIT_L_14, revision: str | None = None, **computing: Any
    ) -> None:
        """Open the head `checkpoint` of this `revision`, and the CLIP model that it was trained on."""
        super().__init__(clip, **computing)
        path = fetch(checkpoint, self.head_file, revision)
        width = self.network.config.projection_dim
        self.head = checkpoints.build_network(lambda: ScoreHead(width), read_weights(path), path)
        self.record = {"clip": self.record, **sources.describe(checkpoint, revision, path)}

    @classmethod
    def check(  # type: ignore[override]
        cls, checkpoint: str = AESTHETIC_HEAD, clip: str = VIT_L_14, revision: str | None = None, **_: Any
    ) -> None:
        """Check both models; see `PreferenceModel.check`."""
        super().check(clip)
        path = sources.check_source(checkpoint, cls.head_file, revision)
        if path is not None:
            width = cls._config(clip, None).projection_dim
            checkpoints.check_weights(lambda: ScoreHead(width), read_weights(path), path)

    @classmethod
    def token_counts(cls, prompts: Sequence[str], *_: Any, **options: Any) -> tuple[list[int], int]:
        """Return zeros: no prompt is read."""
        return [0] * len(prompts), 0

    @torch.no_grad()
    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Return how pleasing images are, 1 to 10: float32 [n]; the prompts are not read."""
        size, features = (self.computing.micro_batch_size, list(self.image_features(images)))
        scores = in_micro_batches(features, size, lambda batch: self.head(torch.stack(batch))[:, 0])
        return np.array([float(score) for score in scores], np.float32)
