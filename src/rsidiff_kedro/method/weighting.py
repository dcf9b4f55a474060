"""Distribution-based weighting: samples far from a reference distribution count less in training.

1. Subtract from the image features what the prompts explain (`PromptRegression`).
2. Fit a Gaussian with a shrunk covariance to the reference images' features, without the leading principal components,
   in which images may well differ, such as background or size. Images that break the usual relation between features
   stand out in the minor components (Shyu, Chen, Sarinnapakorn and Chang 2003).
3. The reference contains odd images too, so fit again to the nearest part of it: one concentration step of the minimum
   covariance determinant (Rousseeuw and Van Driessen 1999).
4. A sample at the squared Mahalanobis distance d² gets

       weight = exp(-max(0, d² - q) / (2 T s)), or 0 if that is below 0.001

   where q is a quantile (`quantile`) of the d² of this nearest part, s their standard deviation and T the temperature.
5. Multiply the weights by the factor that makes their mean one after they are clipped to [`min_weight`, `max_weight`].

RSIDiff (arXiv 2502.09963) names the idea; the formula is this project's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from sklearn.covariance import LedoitWolf, ShrunkCovariance
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.prompt_table import Embed
from rsidiff_kedro.method.settings import WeightingSettings
from rsidiff_kedro.prompts.characters import without_unseen_marks, word_characters

PENALTIES = (1e5, 1e4, 1e3, 100.0, 10.0, 1.0)
"""Of the ridge regression. Cross-validation chooses; of equally good ones the first, which explains least."""
FOLDS = 5


class WeightError(InputError):
    """The features or settings give no sound weights; the message says what to change."""


def weigh_samples(
    reference: np.ndarray,
    reference_prompts: Sequence[str],
    kept: np.ndarray,
    kept_prompts: Sequence[str],
    settings: WeightingSettings,
    embed: Embed | None = None,
) -> pd.DataFrame:
    """Weigh samples by their distance to the reference distribution.

    Args:
        reference: features of the reference images, [m, d].
        reference_prompts: their prompts, [m].
        kept: features of the samples to weigh, [n, d].
        kept_prompts: their prompts, [n].
        settings: see `WeightingSettings`.
        embed: needed if `settings.condition_on_prompts` is "text_encoder".

    Returns:
        The columns distance (d²) and weight, one row per sample.

    Raises:
        WeightError: see `ReferenceDistribution.fit` and `weights_of_distances`.
    """
    if settings.condition_on_prompts is not None:
        describe = describe_by_words(reference_prompts)
        if settings.condition_on_prompts == "text_encoder":
            describe = describe_by_embedding([*reference_prompts, *kept_prompts], embed)
        explained = PromptRegression.fit(reference_prompts, reference, describe)
        reference = explained.residuals(reference_prompts, reference)
        kept = explained.residuals(kept_prompts, kept)
    distribution = ReferenceDistribution.fit(
        reference, settings.shrinkage, settings.support_fraction, settings.ignored_variance
    )
    distances = distribution.squared_distance(kept)
    weights = weights_of_distances(distances, distribution.own_distances, settings)
    return pd.DataFrame({"distance": distances, "weight": weights})


def describe_by_words(reference: Sequence[str]) -> Embed:
    """Return a function that tells which words and word pairs of the reference's prompts a prompt has."""
    # Runs of other characters count as words, so no prompt is without one.
    inside = word_characters()
    tokens = rf"[{inside}]+|[^\s{inside}]+"
    words = CountVectorizer(ngram_range=(1, 2), binary=True, token_pattern=tokens, max_features=2000)
    words.fit(map(without_unseen_marks, reference))
    return lambda prompts: words.transform(map(without_unseen_marks, prompts)).toarray()


def describe_by_embedding(prompts: Sequence[str], embed: Embed | None) -> Embed:
    """Return a function that looks the embeddings of these prompts up; each prompt is embedded once.

    Raises:
        ValueError: `embed` is missing.
    """
    if embed is None:
        raise ValueError("condition_on_prompts 'text_encoder' needs embed")
    known = list(dict.fromkeys(prompts))
    row_of = {prompt: row for row, prompt in enumerate(known)}
    vectors = StandardScaler().fit_transform(np.asarray(embed(known), np.float64))
    return lambda prompts: vectors[[row_of[prompt] for prompt in prompts]]


@dataclass(frozen=True)
class PromptRegression:
    """Ridge regression of features on what describes their prompts."""

    describe: Embed
    regression: RidgeCV

    @classmethod
    def fit(cls, prompts: Sequence[str], features: np.ndarray, describe: Embed) -> Self:
        """Fit to the prompts [n] and features [n, d] of reference images.

        Cross-validation chooses the penalty. It holds out whole prompts: of the images of a prompt that it has seen, a
        regression would explain what it should not, their common mistakes. Where prompts have nothing in common, the
        highest penalty remains, which subtracts next to nothing but the mean.
        """
        groups = pd.factorize(pd.Series(prompts))[0]
        inputs, folds = describe(prompts), min(FOLDS, len(set(groups)))
        held_out = [*GroupKFold(folds).split(inputs, groups=groups)] if folds > 1 else None
        regression = RidgeCV(PENALTIES, scoring="neg_mean_squared_error", cv=held_out)
        return cls(describe, regression.fit(inputs, features))

    def residuals(self, prompts: Sequence[str], features: np.ndarray) -> np.ndarray:
        """Return the part of the features [n, d] that the prompts [n] leave unexplained: float64 [n, d].

        Words that the reference does not have explain nothing.
        """
        return np.asarray(features, np.float64) - self.regression.predict(self.describe(prompts))


@dataclass(frozen=True)
class ReferenceDistribution:
    """A Gaussian over features without their leading principal components.

    Attributes:
        mean: float64 [d].
        precision: the inverse of the shrunk covariance, float64 [d, d].
        own_distances: d² of the features that it was fitted to at last, the nearest part of the reference, float64 [s].
        leading: the components left out, orthonormal rows, float64 [k, d]; k may be 0.
    """

    mean: np.ndarray
    precision: np.ndarray
    own_distances: np.ndarray
    leading: np.ndarray

    @classmethod
    def fit(
        cls,
        features: np.ndarray,
        shrinkage: float | None = None,
        support_fraction: float = 1.0,
        ignored_variance: float = 0.0,
    ) -> Self:
        """Fit to features [n, d], then again to their nearest `support_fraction`; see `WeightingSettings`.

        Raises:
            WeightError: there are fewer than two rows, a value is not finite, or the features do not vary.
        """
        features = np.asarray(features, dtype=np.float64)
        if len(features) < 2 or not np.isfinite(features).all() or not np.ptp(features, axis=0).any():
            raise WeightError(
                f"the reference's features of shape {features.shape} must be finite and vary over two images or more; "
                "take more reference images or another `weighting.features`"
            )
        components = PCA(svd_solver="full").fit(features)
        explained = np.cumsum(components.explained_variance_ratio_)
        leading = components.components_[: int((explained <= ignored_variance).sum())]
        fitted = cls._fit_to_all(features, shrinkage, leading)
        count = max(2, round(support_fraction * len(features)))
        if count == len(features):
            return fitted
        nearest = np.argsort(fitted.own_distances, kind="stable")[:count]
        return cls._fit_to_all(features[nearest], shrinkage, leading)

    @classmethod
    def _fit_to_all(cls, features: np.ndarray, shrinkage: float | None, leading: np.ndarray) -> Self:
        estimator = LedoitWolf() if shrinkage is None else ShrunkCovariance(shrinkage=shrinkage)
        rest = _without(features, leading)
        estimator.fit(rest)
        return cls(estimator.location_, estimator.precision_, estimator.mahalanobis(rest), leading)

    def squared_distance(self, features: np.ndarray) -> np.ndarray:
        """Return squared Mahalanobis distances, float64 [n], of features [n, d]; on average d - k for the reference."""
        offsets = _without(np.asarray(features, dtype=np.float64), self.leading) - self.mean
        return np.maximum(((offsets @ self.precision) * offsets).sum(axis=1), 0.0)


def _without(features: np.ndarray, leading: np.ndarray) -> np.ndarray:
    """Project features [n, d] onto the complement of orthonormal components [k, d]."""
    return features - features @ leading.T @ leading


def weights_of_distances(
    distances: np.ndarray, reference_distances: np.ndarray, settings: WeightingSettings
) -> np.ndarray:
    """Return the weights, float64 [n], of samples: mean one, never rising with the distance.

    Args:
        distances: d² of the samples, [n].
        reference_distances: d² of the reference's nearest part, [s].
        settings: see `WeightingSettings`.

    Raises:
        WeightError: a distance is not finite, the reference's distances do not vary, or so many weights vanish
            that the others cannot make up a mean of one within `max_weight`.
    """
    if not settings.enabled:
        return np.ones(len(distances))
    if not (np.isfinite(distances).all() and np.isfinite(reference_distances).all()) or not len(distances):
        raise WeightError("there must be at least one distance, and all finite; look for NaN in the images' features")
    spread = np.std(reference_distances)
    if not spread > 0:
        raise WeightError("the reference's distances do not vary; take more reference images or other features")
    excess = np.maximum(0.0, distances - np.quantile(reference_distances, settings.quantile))
    raw = np.exp(-excess / (2 * settings.temperature * spread))
    raw[raw < 1e-3] = 0.0  # scaling must not bring such samples back
    return _scale_to_mean_one(raw, settings)


def _scale_to_mean_one(raw: np.ndarray, settings: WeightingSettings) -> np.ndarray:
    """Return clip(c · raw) for the c that makes the mean one; the mean never falls as c grows."""

    def clipped(scale: float) -> np.ndarray:
        return np.clip(scale * raw, settings.min_weight, settings.max_weight)

    present = raw[raw > 0]
    top = settings.max_weight / present.min() if len(present) else 0.0
    reachable = clipped(top).mean()
    if reachable < 1 - 1e-9:
        raise WeightError(
            f"the weights of {len(raw) - len(present)} of {len(raw)} samples vanish, so the mean weight reaches "
            f"{reachable:.3g} and not 1; raise `weighting.temperature` ({settings.temperature}), "
            f"`weighting.quantile` ({settings.quantile}) or `weighting.max_weight` ({settings.max_weight})"
        )
    if reachable <= 1:
        return clipped(top)
    return clipped(brentq(lambda scale: clipped(scale).mean() - 1, 0.0, top, xtol=1e-14))
