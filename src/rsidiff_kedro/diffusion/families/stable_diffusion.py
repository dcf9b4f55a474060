"""Stable Diffusion 1.x and 2.x: UNet, one CLIP text encoder, epsilon- or v-prediction."""

from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from rsidiff_kedro.diffusion.conditioning import Conditioning
from rsidiff_kedro.diffusion.model import DiffusionModel
from rsidiff_kedro.diffusion.settings import ModelSettings

_ATTENTION = r"to_q|to_k|to_v|to_out\.0"
_REST = r"proj_in|proj_out|ff\.net\.0\.proj|ff\.net\.2|conv1|conv2|conv_shortcut"


class StableDiffusion(DiffusionModel):
    """A `StableDiffusionPipeline`."""

    pipeline_class = StableDiffusionPipeline
    components = frozenset({"unet", "vae", "text_encoder", "tokenizer", "scheduler"})
    lora_targets = {"attention": rf".*\.({_ATTENTION})", "all": rf".*\.({_ATTENTION}|{_REST})"}  # noqa: RUF012

    @classmethod
    def loading_options(cls, settings: ModelSettings) -> dict[str, Any]:
        """Leave out the safety checker, which would blacken training images."""
        return {**super().loading_options(settings), "safety_checker": None, "requires_safety_checker": False}

    @torch.no_grad()
    def encode_prompts(self, texts: list[str]) -> Conditioning:
        """Encode texts to the states of the last layer, padded and cut to the text encoder's length."""
        tokens = self.pipeline.tokenizer(
            texts, padding="max_length", max_length=self.tokenizer.max_tokens, truncation=True, return_tensors="pt"
        ).input_ids
        return Conditioning({"prompt_embeds": self.pipeline.text_encoder(tokens.to(self.device)).last_hidden_state})

    def denoise(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        return self.pipeline.unet(noisy, timesteps, conditioning["prompt_embeds"]).sample
