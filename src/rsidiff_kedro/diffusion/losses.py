"""Compute training losses per sample, as diffusers' own training examples do before they take the mean.

Stable Diffusion 3's is that of its example with `--precondition_outputs=0`, the paper's loss.
"""

from collections.abc import Callable

import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import compute_density_for_timestep_sampling, compute_snr
from torch import Tensor

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.diffusion.settings import LossSettings

Denoise = Callable[[Tensor, Tensor], Tensor]
"""Predict [n, c, h, w] from noisy latents [n, c, h, w] at timesteps [n]."""


def denoising_loss(
    denoise: Denoise, scheduler: DDPMScheduler, latents: Tensor, generator: torch.Generator, settings: LossSettings
) -> Tensor:
    """Compute the mean squared error of the noise (epsilon) or the velocity (v), as the scheduler's config says: [n].

    Timesteps are uniform, or logit-normal with `logit_mean`; noise and timesteps come from the CPU generator.
    `min_snr_gamma` weights each sample's loss as Min-SNR does (arXiv 2303.09556).
    """
    kind, steps = scheduler.config.prediction_type, scheduler.config.num_train_timesteps
    if kind not in ("epsilon", "v_prediction"):
        raise InputError(f"model.base predicts {kind!r}; only epsilon and v_prediction can be fine-tuned")
    noise = torch.randn(latents.shape, generator=generator).to(latents.device, latents.dtype)
    if settings.logit_mean is None:
        timesteps = torch.randint(steps, (len(latents),), generator=generator).to(latents.device)
    else:
        timesteps = (_logit_normal(settings.logit_mean, len(latents), generator) * steps).long().to(latents.device)
    prediction = denoise(scheduler.add_noise(latents, noise, timesteps), timesteps)
    target = noise if kind == "epsilon" else scheduler.get_velocity(latents, noise, timesteps)
    loss = (prediction.float() - target.float()).square().mean(dim=(1, 2, 3))
    if settings.min_snr_gamma is None:
        return loss
    snr = compute_snr(scheduler, timesteps)
    return loss * (snr.clamp(max=settings.min_snr_gamma) / (snr if kind == "epsilon" else snr + 1.0))


def flow_matching_loss(
    denoise: Denoise,
    scheduler: FlowMatchEulerDiscreteScheduler,
    latents: Tensor,
    generator: torch.Generator,
    settings: LossSettings,
) -> Tensor:
    """Compute the mean squared error of the flow from latents to noise (rectified flow, arXiv 2403.03206): [n].

    Timesteps are logit-normal with mean 0 (or `logit_mean`) and deviation 1, the weighting of that paper; noise and
    timesteps come from the CPU generator. Min-SNR is not defined for it.
    """
    if settings.min_snr_gamma is not None:
        raise ValueError("flow matching has no Min-SNR weighting")
    noise = torch.randn(latents.shape, generator=generator).to(latents.device, latents.dtype)
    # The scheduler's first step is its noisiest.
    density = _logit_normal(-(settings.logit_mean or 0.0), len(latents), generator)
    steps = (density * scheduler.config.num_train_timesteps).long()
    sigmas = scheduler.sigmas[steps].to(latents.device, latents.dtype)[:, None, None, None]
    prediction = denoise((1.0 - sigmas) * latents + sigmas * noise, scheduler.timesteps[steps].to(latents.device))
    return (prediction.float() - (noise - latents).float()).square().mean(dim=(1, 2, 3))


def _logit_normal(mean: float, count: int, generator: torch.Generator) -> Tensor:
    return compute_density_for_timestep_sampling("logit_normal", count, mean, 1.0, generator=generator)
