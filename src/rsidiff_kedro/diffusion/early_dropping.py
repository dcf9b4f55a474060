"""Denoise the better half of each prompt's samples to the end, and the other half until it shows what it becomes.

After some steps, the images that the samples are on their way to are predicted and scored. From then on the denoiser
computes the better half alone; the others keep their predictions as latents and images, and are marked as dropped.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rsidiff_kedro.core.untrusted.loading import loading
from rsidiff_kedro.diffusion.bases import ModelError

Score = Callable[[Sequence[Image.Image], Sequence[str]], np.ndarray]
"""Scores images of prompts, higher is better: [n]."""
_EXACT = 0.02
"""Predictions that differ by less from clean latents, which are between -1 and 1, are right."""
_OF_ALL = ("img_ids", "txt_ids")
"""Arguments of denoisers whose rows are tokens and not samples."""


@dataclass(frozen=True)
class EarlyDropping:
    """Choice of the samples to drop, and of the step after which they are dropped.

    Attributes:
        after: denoising steps, 2 or more: a prediction compares two.
        open_score: opens what ranks the predicted images, in this or another process; small and picklable.
        samples_per_prompt: whose worse half is dropped; a micro-batch holds whole prompts.
    """

    after: int
    open_score: Callable[[], Score]
    samples_per_prompt: int


class Moment(NamedTuple):
    """Latents on their way: `clean` times the clean latents plus `noise` times noise."""

    latents: Tensor
    clean: float
    noise: float


def better_half(scores: np.ndarray, samples_per_prompt: int) -> np.ndarray:
    """Mark the better half of each prompt's samples, the middle one included: bool [n]; the first of equal ones wins.

    `scores` are those of whole prompts, one after the other, with so many samples each.
    """
    ranks = (-scores.reshape(-1, samples_per_prompt)).argsort(axis=1, kind="stable").argsort(axis=1)
    marks: np.ndarray = (ranks < samples_per_prompt - samples_per_prompt // 2).ravel()
    return marks


def predicted_clean(before: Moment, now: Moment) -> Tensor:
    """Return the clean latents to which the last step points: those that with one noise give both moments."""
    clean = before.latents.float() * now.noise - now.latents.float() * before.noise
    return clean / (before.clean * now.noise - now.clean * before.noise)


class DroppingCallback:
    """A pipeline's callback that drops samples of a micro-batch after some steps; use it as a context.

    Args:
        model: the opened `DiffusionModel`.
        settings: which samples are dropped, and when.
        score: what `settings.open_score` opens.
        texts: the prompt of each sample; further rows of the micro-batch fill it and are not scored.

    Attributes:
        scores: of all rows, float32, once the pipeline has been called.
    """

    def __init__(self, model: Any, settings: EarlyDropping, score: Score, texts: Sequence[str]) -> None:
        self._model, self._score, self._texts = model, score, texts
        self._after, self._samples = settings.after, settings.samples_per_prompt
        self._before: Moment | None = None
        self._own_forward: Any = None
        self._predicted: Tensor | None = None
        self.scores = torch.empty(0)

    def __enter__(self) -> "DroppingCallback":
        self._own_forward = self._model.denoiser.__dict__.get("forward")
        return self

    def __exit__(self, *error: object) -> None:
        self._model.denoiser.__dict__.pop("forward", None)
        if self._own_forward is not None:
            self._model.denoiser.forward = self._own_forward

    def __call__(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Remember where the samples are; after the last step for all, drop the worse half."""
        if step + 1 > self._after:
            return tensors
        now = _moment(pipeline.scheduler, step, tensors["latents"])
        if step + 1 == self._after:
            self._drop(now)
        else:
            self._before = now
        return tensors

    def finish(self, latents: Tensor) -> Tensor:
        """Return the pipeline's latents [n, c, h, w], those of dropped samples replaced by what was predicted."""
        assert self._predicted is not None, "the pipeline has taken fewer steps"
        kept = torch.from_numpy(better_half(self.scores.numpy(), self._samples)).to(latents.device)
        return torch.where(kept[:, None, None, None], latents, self._predicted.to(latents))

    def _drop(self, now: Moment) -> None:
        """Score what the samples become, and have the denoiser compute the better half alone from now on."""
        model, count = self._model, len(self._texts)
        assert self._before is not None, "it is dropped after two steps or more"
        clean = predicted_clean(self._before, now).to(now.latents.dtype)
        self._predicted = model.unpack(clean, model.latent_shape[-1])
        scores = np.asarray(self._score(model.decode(self._predicted[:count]), self._texts), np.float32)
        scores = np.pad(scores, (0, len(now.latents) - count), mode="edge")
        self.scores = torch.from_numpy(scores)
        rows = torch.from_numpy(better_half(scores, self._samples).nonzero()[0]).to(now.latents.device)
        model.denoiser.forward = _of_rows(model.denoiser.forward, rows, len(scores))


def check_scheduler(kind: type[Any], config: Mapping[str, Any], steps: int, after: int) -> None:
    """Raise ModelError if this scheduler does not show after so many of its steps what samples become.

    A perfect denoiser, which knows clean latents and noise, must lead to the clean latents. It does not where a
    scheduler adds new noise on its way or has more than one evaluation a step.

    Args:
        kind: the scheduler's class.
        config: the scheduler's.
        steps: `num_inference_steps`.
        after: of these, 2 or more.
    """
    refusal = ModelError(
        f"synthesis.early_dropping.after is {after}, but the base's {kind.__name__} does not show after {after} of "
        f"{steps} steps what samples become: it adds noise on its way, has several evaluations a step, begins with two "
        "at one noise level, or cannot add noise at a level; set another number, save the model with another "
        "scheduler, such as DDIMScheduler, or set synthesis.early_dropping=null"
    )
    with loading(lambda error: refusal):
        scheduler = kind.from_config(dict(config))
        if getattr(scheduler, "order", 1) > 1 or not _leads_to_clean(scheduler, steps, after):
            raise refusal


def _leads_to_clean(scheduler: Any, steps: int, after: int) -> bool:
    """Tell whether a prediction finds the clean latents that a perfect denoiser knows."""
    shift = {"mu": 1.0} if scheduler.config.get("use_dynamic_shifting") else {}
    scheduler.set_timesteps(steps, **shift)
    clean, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    before = now = _moment(scheduler, -1, clean)
    now = now._replace(latents=now.clean * clean + now.noise * noise)
    for step, timestep in enumerate(scheduler.timesteps[:after]):
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(now.latents, timestep)
        predicted, before = _perfect(scheduler.config.get("prediction_type"), now, clean, noise), now
        now = _moment(scheduler, step, scheduler.step(predicted, timestep, now.latents, return_dict=False)[0])
    return torch.allclose(predicted_clean(before, now), clean, atol=_EXACT)


def _perfect(kind: str | None, now: Moment, clean: Tensor, noise: Tensor) -> Tensor:
    """Return what a denoiser predicts that knows both; `kind` is the scheduler's prediction type, None for a flow."""
    if kind == "epsilon":
        return noise
    if kind == "sample":
        return clean
    if kind == "v_prediction":
        return (now.clean * noise - now.noise * clean) / math.hypot(now.clean, now.noise)
    return noise - clean


def _moment(scheduler: Any, step: int, latents: Tensor) -> Moment:
    """Find out, by how the scheduler adds noise, at which level latents are after a step; -1 is before the first."""
    one, none = (torch.full((1, 1, 1, 1), value, device=latents.device) for value in (1.0, 0.0))
    at = scheduler.timesteps[step + 1].reshape(1)

    def noisy(clean: Tensor, noise: Tensor) -> float:
        if hasattr(scheduler, "scale_noise"):  # flow matching
            return float(scheduler.scale_noise(clean, at, noise))
        return float(scheduler.add_noise(clean, noise, at))

    return Moment(latents, noisy(one, none), noisy(none, one))


def _of_rows(forward: Callable[..., Any], rows: Tensor, samples: int) -> Callable[..., tuple[Tensor, ...]]:
    """Return a denoiser's forward pass that computes some samples alone; the others' predictions are zero.

    Guidance may have the pipeline pass every sample twice.
    """

    def compute(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        batch = len(next(each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)))
        taken = torch.cat([rows + samples * copy for copy in range(batch // samples)])

        def select(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {name: select(part) for name, part in value.items()}
            return value[taken] if isinstance(value, Tensor) and value.dim() and len(value) == batch else value

        named = {name: value if name in _OF_ALL else select(value) for name, value in kwargs.items()}
        found, *rest = forward(*map(select, args), **named)
        return found.new_zeros(batch, *found.shape[1:]).index_copy(0, taken, found), *rest

    return compute
