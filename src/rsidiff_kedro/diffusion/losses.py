"""Training losses per sample, as diffusers' own training examples define them before taking the mean.

Stable Diffusion 3's is that of its example with `--precondition_outputs=0`, which is the paper's.
"""

from collections.abc import Callable

import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import compute_density_for_timestep_sampling, compute_snr
from pydantic import Field
from torch import Tensor

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.section import Section


class LossSettings(Section):
    """Options of the training loss.

    Attributes:
        min_snr_gamma: of Min-SNR loss weighting (5 is usual); None for none.
        logit_mean: mean of logit-normal timesteps, -3 (clean) to 3 (noisy); None for the family's own.
    """

    min_snr_gamma: float | None = Field(None, gt=0)
    logit_mean: float | None = Field(None, ge=-3.0, le=3.0)


Denoise = Callable[[Tensor, Tensor], Tensor]
"""The prediction for noisy latents [n, c, h, w] at timesteps [n]: [n, c, h, w]."""


def denoising_loss(
    denoise: Denoise,
    scheduler: DDPMScheduler,
    latents: Tensor,
    generator: torch.Generator,
    settings: LossSettings,
) -> Tensor:
    """Compute the mean squared error of the noise (epsilon) or the velocity (v), as the scheduler's config says: [n].

    Timesteps are uniform, or logit-normal with `logit_mean`; noise and timesteps come from the CPU generator. With
    `min_snr_gamma` each sample's loss is weighted as in Min-SNR (arXiv 2303.09556).
    """
    noise = torch.randn(latents.shape, generator=generator).to(latents.device, latents.dtype)
    count = scheduler.config.num_train_timesteps
    if settings.logit_mean is None:
        timesteps = torch.randint(count, (len(latents),), generator=generator).to(latents.device)
    else:
        timesteps = (_logit_normal(settings.logit_mean, len(latents), generator) * count).long().to(latents.device)
    prediction = denoise(scheduler.add_noise(latents, noise, timesteps), timesteps)
    kind = scheduler.config.prediction_type
    if kind not in ("epsilon", "v_prediction"):
        raise InputError(f"model.base predicts {kind!r}; only epsilon and v_prediction can be fine-tuned")
    velocity = kind == "v_prediction"
    target = scheduler.get_velocity(latents, noise, timesteps) if velocity else noise
    loss = (prediction.float() - target.float()).square().mean(dim=(1, 2, 3))
    if settings.min_snr_gamma is None:
        return loss
    snr = compute_snr(scheduler, timesteps)
    clipped = snr.clamp(max=settings.min_snr_gamma)
    return loss * (clipped / (snr + 1.0) if velocity else clipped / snr)


def flow_matching_loss(
    denoise: Denoise,
    scheduler: FlowMatchEulerDiscreteScheduler,
    latents: Tensor,
    generator: torch.Generator,
    settings: LossSettings,
) -> Tensor:
    """Compute the mean squared error of the flow from latents to noise (rectified flow, arXiv 2403.03206): [n].

    Timesteps are logit-normal with mean 0 (or `logit_mean`) and deviation 1, the weighting of that paper; noise and
    timesteps come from the CPU generator.
    """
    noise = torch.randn(latents.shape, generator=generator).to(latents.device, latents.dtype)
    # The scheduler's first step is its noisiest.
    density = _logit_normal(-(settings.logit_mean or 0.0), len(latents), generator)
    steps = (density * scheduler.config.num_train_timesteps).long()
    sigmas = scheduler.sigmas[steps].to(latents.device, latents.dtype)[:, None, None, None]
    timesteps = scheduler.timesteps[steps].to(latents.device)
    prediction = denoise((1.0 - sigmas) * latents + sigmas * noise, timesteps)
    return (prediction.float() - (noise - latents).float()).square().mean(dim=(1, 2, 3))


def _logit_normal(mean: float, count: int, generator: torch.Generator) -> Tensor:
    """Sample numbers in (0, 1) whose logits are normal with deviation 1: [count]."""
    return compute_density_for_timestep_sampling("logit_normal", count, mean, 1.0, generator=generator)
