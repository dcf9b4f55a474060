"""Families of diffusion models, one file each; `load_backbone` opens one by its settings."""

from typing import Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from rsidiff_kedro.diffusion.adapters import Adapter
from rsidiff_kedro.diffusion.backbones.folders import check_model, model_source
from rsidiff_kedro.diffusion.backbones.stable_diffusion import StableDiffusionBackbone
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings

__all__ = ["Backbone", "StableDiffusionBackbone", "check_model", "load_backbone"]


class Backbone(Protocol):
    """What sampling and fine-tuning need of a model family."""

    name: str
    max_tokens: int
    device: torch.device

    @property
    def denoiser(self) -> nn.Module:
        """The network that adapters change."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one sample's latents."""

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Tokens of each text as the text encoder counts them, the start and end tokens included."""

    def encode_prompts(self, texts: list[str]) -> Tensor:
        """Text embeddings [n, tokens, width]."""

    def load_adapter(self, adapter: Adapter, trainable: bool) -> None:
        """Put an adapter in: trainable beside the weights, or else folded into them."""

    def add_adapter(self, rank: int, layers: str) -> None:
        """Put a fresh trainable adapter in that changes nothing yet."""

    def export_adapter(self) -> dict[str, Tensor]:
        """The adapter's weights under the names that `load_lora_weights` reads."""

    def generate(self, noise: Tensor, embeddings: Tensor, sampler: SamplerSettings, seeds: list[int]) -> Tensor:
        """Denoise noise [n, channels, height, width] to latents of the same shape."""

    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Latents [n, channels, height, width] to RGB images."""

    def training_loss(
        self, latents: Tensor, embeddings: Tensor, generator: torch.Generator, min_snr_gamma: float | None
    ) -> Tensor:
        """The denoising loss of each sample: [n]."""


FAMILIES: dict[str, type[StableDiffusionBackbone]] = {"stable_diffusion": StableDiffusionBackbone}


def load_backbone(model: ModelSettings) -> Backbone:
    """Open a base model: the shipped one, a local folder or a hub id.

    Raises:
        ModelError: the model is missing or incomplete; the message names what is lacking.
    """
    check_model(model)
    backbone: Backbone = FAMILIES[model.family].open(model_source(model.base), model)
    return backbone
