"""Train the embedded model's autoencoder, by default from 32 x 32 pixels to 8 x 8 x 16 latents."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from rsidiff_kedro.scenes.pretraining.fitting import Schedule, fit
from rsidiff_kedro.scenes.world.renderer import CANVAS


def build_autoencoder(channels: tuple[int, ...] = (32, 48, 64), latent_channels: int = 16) -> AutoencoderKL:
    """Build an untrained autoencoder, whose factor is 2 ** (levels - 1)."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=16,
        sample_size=CANVAS,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


def to_tensor(pixels: np.ndarray) -> Tensor:
    """Convert pixels uint8 [n, h, w, 3] to float [n, 3, h, w] in [-1, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def to_pixels(images: Tensor) -> np.ndarray:
    """Convert float [n, 3, h, w] in [-1, 1] to pixels uint8 [n, h, w, 3]."""
    scaled = (images.detach().float().clamp(-1, 1) + 1.0) * 127.5
    return scaled.round().byte().permute(0, 2, 3, 1).numpy()


def train_autoencoder(
    pixels: np.ndarray,
    channels: tuple[int, ...],
    latent_channels: int,
    schedule: Schedule,
    seed: int,
    checkpoint: Path | None = None,
) -> tuple[AutoencoderKL, list[float]]:
    """Train on pixels uint8 [n, 32, 32, 3] with L1 and L2; latents have mean 0 and deviation 1 per channel.

    A penalty pulls three latent channels to the average-pooled image, which makes latents easy to denoise. Noise of a
    tenth of each channel's standard deviation replaces a learned variance.
    """
    torch.manual_seed(seed)
    autoencoder = build_autoencoder(channels, latent_channels)
    factor = 2 ** (len(channels) - 1)

    def loss_of_batch(generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(pixels), (schedule.batch_size,), generator=generator)
        images = to_tensor(pixels[chosen.numpy()])
        latents = autoencoder.encode(images).latent_dist.mean
        noise = torch.randn(latents.shape, generator=generator) * latents.detach().std(dim=(0, 2, 3), keepdim=True)
        difference = autoencoder.decode(latents + 0.1 * noise).sample - images
        pooled = functional.avg_pool2d(images, factor)
        return difference.abs().mean() + difference.square().mean() + 0.1 * (latents[:, :3] - pooled).square().mean()

    losses = fit(autoencoder, loss_of_batch, schedule, seed, "autoencoder", checkpoint)
    _whiten(autoencoder, encode(autoencoder, pixels[:2000]))
    return autoencoder, losses


@torch.no_grad()
def encode(autoencoder: AutoencoderKL, pixels: np.ndarray, batch_size: int = 128) -> Tensor:
    """Return the latents (means) of pixels uint8 [n, h, w, 3]: float [n, channels, h / f, w / f]."""
    chunks = [pixels[start : start + batch_size] for start in range(0, len(pixels), batch_size)]
    device = autoencoder.device
    return torch.cat([autoencoder.encode(to_tensor(chunk).to(device)).latent_dist.mean for chunk in chunks])


@torch.no_grad()
def reconstruct(autoencoder: AutoencoderKL, pixels: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """Encode and decode pixels: uint8 [n, h, w, 3]."""
    latents = encode(autoencoder, pixels, batch_size)
    return np.concatenate([to_pixels(autoencoder.decode(chunk).sample) for chunk in latents.split(batch_size)])


@torch.no_grad()
def _whiten(autoencoder: AutoencoderKL, latents: Tensor) -> None:
    """Fold (latent - mean) / deviation per channel into `quant_conv`, and its inverse into `post_quant_conv`."""
    mean, deviation = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    count = len(mean)
    into, out = autoencoder.quant_conv, autoencoder.post_quant_conv
    into.weight[:count] /= deviation[:, None, None, None]
    into.bias[:count] = (into.bias[:count] - mean) / deviation
    out.bias += (out.weight[:, :, 0, 0] * mean).sum(dim=1)
    out.weight *= deviation[None, :, None, None]
