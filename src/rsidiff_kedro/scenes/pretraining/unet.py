"""Define the UNet of the first embedded model, in Stable Diffusion's format, and what it is trained to predict."""

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from rsidiff_kedro.scenes.pretraining.denoiser import Denoiser, text_config


@dataclass(frozen=True)
class UNetSizes:
    """UNet channels per level, width and depth of the text encoder."""

    channels: tuple[int, ...] = (96, 128)
    text_width: int = 96
    text_layers: int = 2


def build_scheduler() -> DDIMScheduler:
    """Build a noise scheduler: v-prediction, zero terminal signal-to-noise ratio, trailing steps (arXiv 2305.08891)."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        steps_offset=1,
    )


class UNetDenoiser(Denoiser):
    """A UNet that reads the states of one CLIP text encoder; it predicts v."""

    def __init__(self, sizes: UNetSizes, tokenizer: CLIPTokenizer, latent_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.text_encoder = CLIPTextModel(text_config(tokenizer, sizes.text_width, sizes.text_layers))
        self.unet = UNet2DConditionModel(
            sample_size=latent_shape[1],
            in_channels=latent_shape[0],
            out_channels=latent_shape[0],
            block_out_channels=sizes.channels,
            down_block_types=("CrossAttnDownBlock2D",) * len(sizes.channels),
            up_block_types=("CrossAttnUpBlock2D",) * len(sizes.channels),
            layers_per_block=1,
            cross_attention_dim=sizes.text_width,
            attention_head_dim=4,  # diffusers' name for the number of heads
            norm_num_groups=16,
        )
        self.text_encoders = [self.text_encoder]
        self._alphas = build_scheduler().alphas_cumprod

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        return self.unet(noisy, timesteps, self.text_encoder(tokens).last_hidden_state).sample

    def noised(self, clear: Tensor, noise: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        timesteps = draw_timesteps(len(clear), generator)
        alphas = self._alphas.to(clear.device)[timesteps][:, None, None, None]
        signal, sigma = alphas.sqrt(), (1 - alphas).sqrt()
        return signal * clear + sigma * noise, timesteps, signal * noise - sigma * clear

    def assemble(self, autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer) -> StableDiffusionPipeline:
        pipeline = StableDiffusionPipeline(
            vae=autoencoder,
            text_encoder=self.text_encoder,
            tokenizer=tokenizer,
            unet=self.unet,
            scheduler=build_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def draw_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Sample timesteps in [0, 1000): logit-normal(0.4, 1.1) for 85 %, uniform for 15 %."""
    device = generator.device
    middle = torch.sigmoid(0.4 + 1.1 * torch.randn(count, generator=generator, device=device))
    uniform = torch.rand(count, generator=generator, device=device)
    share = torch.where(torch.rand(count, generator=generator, device=device) < 0.15, uniform, middle)
    return (share * 1000).long().clamp(0, 999)
