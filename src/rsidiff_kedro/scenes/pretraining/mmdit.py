"""Define the transformer of the second embedded model, in Stable Diffusion 3's format (arXiv 2403.03206)."""

from dataclasses import dataclass

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from diffusers.models.normalization import AdaLayerNormContinuous, AdaLayerNormZero
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from rsidiff_kedro.scenes.pretraining.denoiser import Denoiser, text_config


@dataclass(frozen=True)
class MMDiTSizes:
    """Depth, heads and their width, width and depth of each of two text encoders, and the schedule's shift to noise."""

    layers: int = 6
    heads: int = 6
    head_width: int = 32
    text_width: int = 96
    text_layers: int = 3
    shift: float = 2.0


class MMDiTDenoiser(Denoiser):
    """A multimodal diffusion transformer that reads two CLIP text encoders; it predicts the flow to noise.

    As in the pipeline without T5, states are those before the text encoders' last layer. T5's rows of zeros, which
    the pipeline appends, are left out: sample with `max_sequence_length=0`.
    """

    stacked = True

    def __init__(self, sizes: MMDiTSizes, tokenizer: CLIPTokenizer, latent_shape: tuple[int, int, int]) -> None:
        super().__init__()
        config = text_config(tokenizer, sizes.text_width, sizes.text_layers)
        config.projection_dim = sizes.text_width
        self.text_encoder = CLIPTextModelWithProjection(config)
        self.text_encoder_2 = CLIPTextModelWithProjection(config)
        self.transformer = SD3Transformer2DModel(
            sample_size=latent_shape[1],
            patch_size=1,
            in_channels=latent_shape[0],
            out_channels=latent_shape[0],
            num_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            attention_head_dim=sizes.head_width,
            joint_attention_dim=2 * sizes.text_width,
            caption_projection_dim=sizes.heads * sizes.head_width,
            pooled_projection_dim=2 * sizes.text_width,
            pos_embed_max_size=latent_shape[1],
            qk_norm="rms_norm",
        )
        _start_as_identity(self.transformer)
        self.text_encoders = [self.text_encoder, self.text_encoder_2]
        self._shift = sizes.shift

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        read = [encoder(tokens, output_hidden_states=True) for encoder in (self.text_encoder, self.text_encoder_2)]
        states = torch.cat([each.hidden_states[-2] for each in read], dim=-1)
        pooled = torch.cat([each.text_embeds for each in read], dim=-1)
        return self.transformer(noisy, states, pooled, timesteps).sample

    def noised(self, clear: Tensor, noise: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        sigmas = draw_sigmas(len(clear), self._shift, generator)
        mixed = sigmas[:, None, None, None]
        return (1 - mixed) * clear + mixed * noise, 1000 * sigmas, noise - clear

    def assemble(self, autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer) -> StableDiffusion3Pipeline:
        autoencoder.register_to_config(shift_factor=0.0)  # the pipeline adds it to latents
        pipeline = StableDiffusion3Pipeline(
            transformer=self.transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=self._shift),
            vae=autoencoder,
            text_encoder=self.text_encoder,
            tokenizer=tokenizer,
            text_encoder_2=self.text_encoder_2,
            tokenizer_2=tokenizer,
            text_encoder_3=None,
            tokenizer_3=None,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def draw_sigmas(count: int, shift: float, generator: torch.Generator) -> Tensor:
    """Sample shares of noise in (0, 1), shifted as the schedule: logit-normal(0, 1) for 85 %, uniform for 15 %."""
    device = generator.device
    middle = torch.sigmoid(torch.randn(count, generator=generator, device=device))
    uniform = torch.rand(count, generator=generator, device=device)
    share = torch.where(torch.rand(count, generator=generator, device=device) < 0.15, uniform, middle)
    return shift * share / (1 + (shift - 1) * share)


@torch.no_grad()
def _start_as_identity(transformer: SD3Transformer2DModel) -> None:
    """Set to zero what modulates and gates the blocks, and the last layer, as for DiT (arXiv 2212.09748)."""
    norms = (AdaLayerNormZero, AdaLayerNormContinuous)
    modulations = [module.linear for module in transformer.modules() if isinstance(module, norms)]
    for layer in (*modulations, transformer.proj_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
