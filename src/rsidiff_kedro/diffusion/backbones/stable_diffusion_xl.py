"""Stable Diffusion XL: UNet, two CLIP text encoders, conditions on the image's size."""

from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor

from rsidiff_kedro.diffusion.backbones.pipeline import PipelineBackbone
from rsidiff_kedro.diffusion.backbones.stable_diffusion import UNET_TARGETS
from rsidiff_kedro.diffusion.embeddings import TextEmbeddings
from rsidiff_kedro.diffusion.losses import denoising_loss
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings


class StableDiffusionXLBackbone(PipelineBackbone):
    """A `StableDiffusionXLPipeline`."""

    pipeline_class = StableDiffusionXLPipeline
    components = frozenset({"unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"})
    lora_targets = UNET_TARGETS

    @classmethod
    def loading_options(cls, model: ModelSettings) -> dict[str, Any]:
        """Without the invisible watermark, which training images would teach."""
        return {**super().loading_options(model), "add_watermarker": False}

    @torch.no_grad()
    def encode_prompts(self, texts: list[str]) -> TextEmbeddings:
        """States of both text encoders side by side, and the second's pooled embedding."""
        states, _, pooled, _ = self.pipeline.encode_prompt(
            texts, device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return TextEmbeddings(states, pooled)

    def encode_no_prompt(self) -> TextEmbeddings:
        """Zeros where the pipeline's config says so, as its own sampler does; else an empty text's."""
        empty = self.encode_prompts([""])
        if not self.pipeline.config.force_zeros_for_empty_prompt or empty.pooled is None:
            return empty
        return TextEmbeddings(torch.zeros_like(empty.states), torch.zeros_like(empty.pooled))

    def training_loss(
        self, latents: Tensor, embeddings: TextEmbeddings, generator: torch.Generator, settings: FinetuneSettings
    ) -> Tensor:
        """See `denoising_loss`; the image counts as whole and of its own size."""
        size = latents.shape[-1] * self.pipeline.vae_scale_factor
        sizes = torch.tensor([size, size, 0, 0, size, size], device=self.device, dtype=embeddings.states.dtype)
        added = {"text_embeds": embeddings.pooled, "time_ids": sizes.expand(len(latents), -1)}

        def denoise(noisy: Tensor, timesteps: Tensor) -> Tensor:
            prediction: Tensor = self.pipeline.unet(noisy, timesteps, embeddings.states, added_cond_kwargs=added).sample
            return prediction

        return denoising_loss(denoise, self._noising, latents, generator, settings)
