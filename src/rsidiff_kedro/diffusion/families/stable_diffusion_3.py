"""Stable Diffusion 3: transformer, two CLIP text encoders and T5, flow matching."""

from typing import Any

import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from pydantic import Field
from torch import Tensor

from rsidiff_kedro.core.section import Section
from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.conditioning import Conditioning
from rsidiff_kedro.diffusion.families.flow_matching import JOINT_ATTENTION, FlowMatchingModel
from rsidiff_kedro.diffusion.settings import ModelSettings


class StableDiffusion3Options(Section):
    """Settings of Stable Diffusion 3 alone.

    Attributes:
        t5: whether to use T5, its largest network (9.5 GB in bfloat16).
        max_sequence_length: tokens that T5 reads, or rows of zeros in their place without it; 0 for a model that was
            trained without these rows.
    """

    t5: bool = True
    max_sequence_length: int = Field(256, ge=0, le=512)


class StableDiffusion3(FlowMatchingModel):
    """A `StableDiffusion3Pipeline`; T5 may be missing or left out (`model.options.t5`).

    Both CLIP text encoders read 77 tokens and T5 reads 256 (`model.options`); a prompt may have as many as all of
    them read.
    """

    pipeline_class = StableDiffusion3Pipeline
    components = frozenset(
        {"transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"}
    )
    denoiser_class = SD3Transformer2DModel
    lora_targets = {  # noqa: RUF012
        "attention": rf".*\.({JOINT_ATTENTION})",
        "all": rf".*\.({JOINT_ATTENTION}|net\.0\.proj|net\.2)",
    }
    large_text_encoders = ("text_encoder_3",)
    Options = StableDiffusion3Options

    @classmethod
    def loading_options(cls, settings: ModelSettings) -> dict[str, Any]:
        """Leave out T5 if the settings say so."""
        left_out = {} if cls.options_of(settings).t5 else {"text_encoder_3": None, "tokenizer_3": None}
        return {**super().loading_options(settings), **left_out}

    @classmethod
    def other_tokenizers(cls, settings: ModelSettings) -> dict[str, int | None]:
        """Return that of T5, for which 0 is refused by `check`; the second CLIP reads as many tokens as the first."""
        options = cls.options_of(settings)
        return {"tokenizer_3": options.max_sequence_length or None} if options.t5 else {}

    def check(self) -> None:
        """Check also that T5 reads something, and that the position embeddings cover the resolution."""
        if self.pipeline.text_encoder_3 is not None and self.options.max_sequence_length == 0:
            raise ModelError("model.options.max_sequence_length is 0, but the model has a T5; set it to 1 or more")
        super().check()
        config = self.pipeline.transformer.config
        most = config.pos_embed_max_size
        if most is not None and self.latent_shape[1] // config.patch_size > most:
            largest = most * config.patch_size * self.pipeline.vae_scale_factor
            raise ModelError(
                f"model.resolution is {self.resolution}; this model generates {largest} pixels per side at most"
            )

    @torch.no_grad()
    def encode_prompts(self, texts: list[str]) -> Conditioning:
        """Encode texts with the CLIP text encoders and T5 (zeros without it); pooled embeddings are CLIP's."""
        states, _, pooled, _ = self.pipeline.encode_prompt(
            texts,
            texts,
            texts,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.options.max_sequence_length,
        )
        return Conditioning({"prompt_embeds": states, "pooled_prompt_embeds": pooled})

    def denoise(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        states, pooled = conditioning["prompt_embeds"], conditioning["pooled_prompt_embeds"]
        return self.pipeline.transformer(noisy, states, pooled, timestep=timesteps).sample
