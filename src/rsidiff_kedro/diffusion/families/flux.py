"""Flux: transformer, CLIP and T5 text encoders, flow matching on packed latents, distilled guidance."""

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from pydantic import Field
from torch import Tensor

from rsidiff_kedro.core.section import Section
from rsidiff_kedro.diffusion.conditioning import Conditioning
from rsidiff_kedro.diffusion.families.flow_matching import JOINT_ATTENTION, FlowMatchingModel


class FluxOptions(Section):
    """Settings of Flux alone: the guidance scale that a guidance-distilled denoiser reads while it is trained."""

    training_guidance: float = Field(default=3.5, ge=0.0, le=50.0)


class Flux(FlowMatchingModel):
    """A `FluxPipeline`; `guidance_scale` is an input of the denoiser, and Schnell, which has none, ignores it.

    CLIP reads the first 77 tokens of a prompt, for the pooled embedding alone; T5 reads 512.
    """

    pipeline_class = FluxPipeline
    components = frozenset(
        {"transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"}
    )
    denoiser_class = FluxTransformer2DModel
    lora_targets = {  # noqa: RUF012
        "attention": rf".*\.({JOINT_ATTENTION})",
        "all": rf".*\.({JOINT_ATTENTION}|net\.0\.proj|net\.2|proj_mlp|proj_out)",
    }
    latents_per_token = 4
    negative_prompt = False
    tokenizer_name = "tokenizer_2"
    max_tokens = 512
    large_text_encoders = ("text_encoder_2",)
    Options = FluxOptions

    @classmethod
    def trained_side(cls, denoiser_config: object) -> int:
        """Return 128, for 1024 pixels: the config has no size."""
        return 128

    def pack(self, latents: Tensor) -> Tensor:
        """Join 2 x 2 latents to one token: [n, h / 2 * w / 2, 4 c]."""
        return self.pipeline._pack_latents(latents, *latents.shape)

    def unpack(self, latents: Tensor, side: int) -> Tensor:
        """Split tokens into latents again."""
        factor = self.pipeline.vae_scale_factor
        return self.pipeline._unpack_latents(latents, side * factor, side * factor, factor)

    @torch.no_grad()
    def encode_prompts(self, texts: list[str]) -> Conditioning:
        """Encode texts with T5, and with CLIP to pooled embeddings."""
        states, pooled, _ = self.pipeline.encode_prompt(
            texts, None, device=self.device, max_sequence_length=self.tokenizer.max_tokens
        )
        return Conditioning({"prompt_embeds": states, "pooled_prompt_embeds": pooled})

    def denoise(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """Call the transformer on packed latents, with timesteps from 0 to 1 and the places of tokens."""
        states, side = conditioning["prompt_embeds"], noisy.shape[-1]
        guidance = None
        if self.denoiser.config.guidance_embeds:
            guidance = torch.full((len(noisy),), self.options.training_guidance, device=self.device)
        prediction = self.denoiser(
            hidden_states=self.pack(noisy),
            timestep=timesteps / 1000,
            guidance=guidance,
            pooled_projections=conditioning["pooled_prompt_embeds"],
            encoder_hidden_states=states,
            txt_ids=torch.zeros(states.shape[1], 3, device=self.device, dtype=states.dtype),
            img_ids=self.pipeline._prepare_latent_image_ids(1, side // 2, side // 2, self.device, states.dtype),
        ).sample
        return self.unpack(prediction, side)
