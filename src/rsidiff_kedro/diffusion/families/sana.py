"""Sana: linear transformer, Gemma text encoder with an attention mask, deep-compression autoencoder, flow matching."""

import inspect

import torch
from diffusers import SanaPipeline, SanaTransformer2DModel
from torch import Tensor

from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.conditioning import Conditioning
from rsidiff_kedro.diffusion.families.flow_matching import FlowMatchingModel

_ATTENTION = r"to_q|to_k|to_v|to_out\.0"


class Sana(FlowMatchingModel):
    """A `SanaPipeline`; Gemma reads 300 tokens, after the pipeline's own instruction for prompts."""

    pipeline_class = SanaPipeline
    components = frozenset({"transformer", "vae", "text_encoder", "tokenizer", "scheduler"})
    denoiser_class = SanaTransformer2DModel
    lora_targets = {  # noqa: RUF012
        "attention": rf".*\.({_ATTENTION})",
        "all": rf".*\.({_ATTENTION}|conv_inverted|conv_point)",
    }
    sampling_options = {"use_resolution_binning": False, "negative_prompt": None}  # noqa: RUF012
    max_tokens = 300
    large_text_encoders = ("text_encoder",)

    def check(self) -> None:
        """Check also that the pipeline generates this resolution."""
        super().check()
        if self.image_size % 32:
            raise ModelError(f"model.resolution is {self.image_size}; this model generates multiples of 32")

    def encode_prompts(self, texts: list[str]) -> Conditioning:
        """Encode texts with Gemma; the mask [n, tokens] is 1 for a token and 0 for padding."""
        call = inspect.signature(self.pipeline_class.__call__)
        return self._encode(texts, call.parameters["complex_human_instruction"].default)

    def encode_no_prompt(self) -> Conditioning:
        """Encode an empty text without the instruction, as the pipeline does."""
        return self._encode([""], None)

    @torch.no_grad()
    def _encode(self, texts: list[str], instruction: list[str] | None) -> Conditioning:
        states, mask, _, _ = self.pipeline.encode_prompt(
            texts,
            do_classifier_free_guidance=False,
            device=self.device,
            max_sequence_length=self.tokenizer.max_tokens,
            complex_human_instruction=instruction,
        )
        return Conditioning({"prompt_embeds": states, "prompt_attention_mask": mask})

    def denoise(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """Call the transformer, with timesteps in its own scale."""
        return self.denoiser(
            noisy,
            encoder_hidden_states=conditioning["prompt_embeds"],
            encoder_attention_mask=conditioning["prompt_attention_mask"],
            timestep=timesteps * self.denoiser.config.timestep_scale,
        ).sample
