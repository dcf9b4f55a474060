"""Stable Diffusion 3: transformer, two CLIP text encoders and T5, flow matching."""

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor

from rsidiff_kedro.diffusion.backbones.folders import ModelError
from rsidiff_kedro.diffusion.backbones.pipeline import PipelineBackbone
from rsidiff_kedro.diffusion.embeddings import TextEmbeddings
from rsidiff_kedro.diffusion.losses import flow_matching_loss
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings

_ATTENTION = r"to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out"
_REST = r"net\.0\.proj|net\.2"
TRANSFORMER_TARGETS = {"attention": rf".*\.({_ATTENTION})", "all": rf".*\.({_ATTENTION}|{_REST})"}


class StableDiffusion3Backbone(PipelineBackbone):
    """A `StableDiffusion3Pipeline`; T5 may be missing or left out (`model.t5`).

    Both CLIP text encoders read 77 tokens and T5 reads 256; `max_tokens` is what all of them read.
    """

    pipeline_class = StableDiffusion3Pipeline
    components = frozenset(
        {"transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"}
    )
    denoiser_name = "transformer"
    denoiser_class = SD3Transformer2DModel
    lora_targets = TRANSFORMER_TARGETS
    noising_class = FlowMatchEulerDiscreteScheduler
    has_snr = False

    @classmethod
    def loading_options(cls, model: ModelSettings) -> dict[str, Any]:
        """Without T5 if the settings leave it out."""
        options = super().loading_options(model)
        return options if model.t5 else {**options, "text_encoder_3": None, "tokenizer_3": None}

    def check(self) -> None:
        """Also that the positions reach as far as the resolution asks."""
        super().check()
        config = self.pipeline.transformer.config
        places, most = self.latent_shape[1] // config.patch_size, config.pos_embed_max_size
        if most is not None and places > most:
            largest = most * config.patch_size * self.pipeline.vae_scale_factor
            raise ModelError(f"model.resolution is {self.resolution}; this model draws {largest} pixels a side at most")

    @torch.no_grad()
    def encode_prompts(self, texts: list[str]) -> TextEmbeddings:
        """States of the CLIP text encoders and of T5 (zeros without it), and the CLIP encoders' pooled embeddings."""
        states, _, pooled, _ = self.pipeline.encode_prompt(
            texts, texts, texts, device=self.device, do_classifier_free_guidance=False
        )
        return TextEmbeddings(states, pooled)

    def training_loss(
        self, latents: Tensor, embeddings: TextEmbeddings, generator: torch.Generator, settings: FinetuneSettings
    ) -> Tensor:
        """See `flow_matching_loss`; Min-SNR is not defined for it."""
        if settings.min_snr_gamma is not None:
            raise ValueError("flow matching has no Min-SNR weighting")

        def denoise(noisy: Tensor, timesteps: Tensor) -> Tensor:
            prediction: Tensor = self.pipeline.transformer(
                hidden_states=noisy,
                timestep=timesteps,
                encoder_hidden_states=embeddings.states,
                pooled_projections=embeddings.pooled,
            ).sample
            return prediction

        return flow_matching_loss(denoise, self._noising, latents, generator, settings)
