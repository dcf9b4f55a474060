"""Train the preference model: first on matching and wrong pairs, then on annotators' answers."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from rsidiff_kedro.scenes.plugins.proxy import ProxyModel
from rsidiff_kedro.scenes.pretraining.fitting import Schedule, fit


@dataclass(frozen=True)
class LabelledPairs:
    """Images uint8 [n, 3, h, w], word ids [n, 16], and whether they match, float [n] in {0, 1}."""

    images: Tensor
    words: Tensor
    labels: Tensor

    def loss(self, model: ProxyModel, count: int, generator: torch.Generator) -> Tensor:
        """Return the cross-entropy of the labels and of each word of matching captions, on a random batch."""
        chosen = torch.randint(len(self.labels), (count,), generator=generator)
        words, labels = self.words[chosen], self.labels[chosen]
        scores, likelihoods = model.read(self.images[chosen].float() / 127.5 - 1.0, words)
        matching = labels[:, None] * (words != 0)
        naming = -(matching * likelihoods).sum() / matching.sum().clamp(min=1.0)
        return functional.binary_cross_entropy_with_logits(scores, labels) + naming


@dataclass(frozen=True)
class Preferences:
    """Pairs of one prompt's images: uint8 [n, 3, h, w], word ids [n, 16], rows of the better and worse ones [m]."""

    images: Tensor
    words: Tensor
    better: Tensor
    worse: Tensor

    def loss(self, model: ProxyModel, count: int, generator: torch.Generator) -> Tensor:
        """Return the Bradley-Terry loss: minus log sigmoid of the difference of scores."""
        chosen = torch.randint(len(self.better), (count,), generator=generator)
        rows = torch.cat([self.better[chosen], self.worse[chosen]])
        scores = model(self.images[rows].float() / 127.5 - 1.0, self.words[rows])
        return -functional.logsigmoid(scores[:count] - scores[count:]).mean()


def pretrain_proxy(
    model: ProxyModel, pairs: LabelledPairs, schedule: Schedule, seed: int, checkpoint: Path | None
) -> None:
    """Teach the model, in place, to tell matching pairs from wrong ones."""

    def loss_of_batch(generator: torch.Generator) -> Tensor:
        return pairs.loss(model, schedule.batch_size, generator)

    fit(model, loss_of_batch, schedule, seed, "preference model: pairs", checkpoint)


def tune_proxy(
    model: ProxyModel,
    pairs: LabelledPairs,
    preferences: Preferences,
    schedule: Schedule,
    seed: int,
    checkpoint: Path | None,
) -> None:
    """Tune the model, in place, on preferences, and at half the weight on pairs, which it would forget otherwise."""

    def loss_of_batch(generator: torch.Generator) -> Tensor:
        half = schedule.batch_size // 2
        return preferences.loss(model, half, generator) + 0.5 * pairs.loss(model, half, generator)

    fit(model, loss_of_batch, schedule, seed, "preference model: preferences", checkpoint)
