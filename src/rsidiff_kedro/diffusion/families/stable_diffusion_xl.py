"""Stable Diffusion XL: UNet, two CLIP text encoders, conditioning on the image's size."""

from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor

from rsidiff_kedro.diffusion.conditioning import Conditioning
from rsidiff_kedro.diffusion.families.stable_diffusion import StableDiffusion
from rsidiff_kedro.diffusion.model import DiffusionModel
from rsidiff_kedro.diffusion.settings import ModelSettings


class StableDiffusionXL(DiffusionModel):
    """A `StableDiffusionXLPipeline`."""

    pipeline_class = StableDiffusionXLPipeline
    components = StableDiffusion.components | {"text_encoder_2", "tokenizer_2"}
    lora_targets = StableDiffusion.lora_targets

    @classmethod
    def loading_options(cls, settings: ModelSettings) -> dict[str, Any]:
        """Leave out the invisible watermark, which the model would learn from its own images."""
        return {**super().loading_options(settings), "add_watermarker": False}

    @classmethod
    def other_tokenizers(cls, settings: ModelSettings) -> dict[str, int | None]:
        return {"tokenizer_2": None}

    @torch.no_grad()
    def encode_prompts(self, texts: list[str]) -> Conditioning:
        """Encode texts to the states of both text encoders side by side, and the second's pooled embedding."""
        states, _, pooled, _ = self.pipeline.encode_prompt(
            texts, device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return Conditioning({"prompt_embeds": states, "pooled_prompt_embeds": pooled})

    def encode_no_prompt(self) -> Conditioning:
        """Return zeros where the pipeline's config says so, as its own sampler does; else encode an empty text."""
        empty = self.encode_prompts([""])
        return empty.zeros() if self.pipeline.config.force_zeros_for_empty_prompt else empty

    def denoise(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """Call the UNet; the image counts as uncropped and of its own size."""
        states, size = conditioning["prompt_embeds"], noisy.shape[-1] * self.pipeline.vae_scale_factor
        sizes = torch.tensor([size, size, 0, 0, size, size], device=self.device, dtype=states.dtype)
        added = {"text_embeds": conditioning["pooled_prompt_embeds"], "time_ids": sizes.expand(len(noisy), -1)}
        return self.pipeline.unet(noisy, timesteps, states, added_cond_kwargs=added).sample
