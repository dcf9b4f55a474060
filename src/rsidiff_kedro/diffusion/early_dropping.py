"""Denoise the better half of each prompt's samples to the end, and the other half until it shows what it becomes.

After some steps, the images that the samples are on their way to are predicted and scored. From then on the denoiser
computes the better half alone; the others keep their predictions as latents and images, and are marked as dropped.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rsidiff_kedro.diffusion.bases import ModelError

Score = Callable[[Sequence[Image.Image], Sequence[str]], np.ndarray]
"""Scores images of prompts, higher is better: [n]."""
_OF_ALL = ("img_ids", "txt_ids")
"""Arguments of denoisers whose rows are tokens and not samples."""


class OpensScore(Protocol):
    """A small, picklable object that opens a score, in this or another process."""

    def open(self) -> Score:
        """Open the preference model."""


@dataclass(frozen=True)
class EarlyDropping:
    """What is dropped when.

    Attributes:
        after: denoising steps, 2 or more.
        score: ranks the predicted images.
        samples_per_prompt: whose worse half is dropped; a micro-batch holds whole prompts.
    """

    after: int
    score: OpensScore
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
        settings: what is dropped when.
        score: what `settings.score` opens.
        texts: the prompt of each sample, [n].

    Attributes:
        scores: of the predicted images, float32 [n], once the pipeline has been called.
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
        elif self._before is None or (now.clean, now.noise) != (self._before.clean, self._before.noise):
            self._before = now
        return tensors

    def finish(self, latents: Tensor) -> Tensor:
        """Return the pipeline's latents [n, c, h, w], those of dropped samples replaced by what was predicted."""
        assert self._predicted is not None, "the pipeline has taken fewer steps"
        kept = torch.from_numpy(better_half(self.scores.numpy(), self._samples)).to(latents.device)
        return torch.where(kept[:, None, None, None], latents, self._predicted.to(latents))

    def _drop(self, now: Moment) -> None:
        """Score what the samples become, and have the denoiser compute the better half alone from now on."""
        before, model = self._before, self._model
        if before is None or before.clean * now.noise == now.clean * before.noise:
            raise ModelError(
                f"synthesis.early_dropping.after is {self._after}, but the scheduler's first steps are at one noise "
                "level, which tells nothing of the images; set it higher"
            )
        side = model.latent_shape[-1]
        self._predicted = model.unpack(predicted_clean(before, now).to(now.latents.dtype), side)
        scores = np.asarray(self._score(model.decode(self._predicted), self._texts), np.float32)
        self.scores = torch.from_numpy(scores)
        rows = torch.from_numpy(better_half(scores, self._samples).nonzero()[0]).to(now.latents.device)
        model.denoiser.forward = _of_rows(model.denoiser.forward, rows, len(scores))


def _moment(scheduler: Any, step: int, latents: Tensor) -> Moment:
    """Find out at which noise level the latents after a step are, from the scheduler's own function that adds noise."""
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
