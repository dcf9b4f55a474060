"""The steps of weighting."""

import numpy as np
import pandas as pd

from rsidiff_kedro.diffusion.image_set import ImageSet, concatenate
from rsidiff_kedro.rewards import load_features
from rsidiff_kedro.rewards.settings import RewardsSettings
from rsidiff_kedro.statistics.conditioning import PromptRegression
from rsidiff_kedro.statistics.distribution import ReferenceDistribution, WeightingSettings, weights_of_distances


def weigh_samples(
    images: ImageSet,
    selection: pd.DataFrame,
    base_images: ImageSet,
    settings: WeightingSettings,
    models: RewardsSettings,
) -> pd.DataFrame:
    """Weigh the kept images by their distance to the reference: columns image_id, distance and weight."""
    kept = kept_images(images, selection)
    reference = _reference_images(images, base_images, settings)
    reference_features, features = _features(reference, kept, settings, models)
    distribution = ReferenceDistribution.fit(
        reference_features, settings.shrinkage, settings.support_fraction, settings.ignored_variance
    )
    distances = distribution.squared_distance(features)
    weights = weights_of_distances(distances, distribution.own_distances, settings)
    return pd.DataFrame({"image_id": kept.metadata["image_id"], "distance": distances, "weight": weights})


def _reference_images(images: ImageSet, base_images: ImageSet, settings: WeightingSettings) -> ImageSet:
    """What the kept images are compared with; round 1's images are the base model's, and are taken once."""
    if settings.reference == "round" or images.metadata.equals(base_images.metadata):
        return images
    return base_images if settings.reference == "base" else concatenate([base_images, images])


def _features(
    reference: ImageSet, kept: ImageSet, settings: WeightingSettings, models: RewardsSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Features of the reference and of the kept images."""
    embed = load_features(settings.features, **models.options(settings.features)).embed
    prompts = [images.metadata["text"].tolist() for images in (reference, kept)]
    features = [embed(images.images, texts) for images, texts in zip((reference, kept), prompts, strict=True)]
    if settings.condition_on_prompts:
        explained = PromptRegression.fit(prompts[0], features[0])
        features = [explained.residuals(*pair) for pair in zip(prompts, features, strict=True)]
    return features[0], features[1]


def kept_images(images: ImageSet, selection: pd.DataFrame) -> ImageSet:
    """The images that preference selection keeps, in the order in which they were drawn."""
    kept = selection.loc[selection["kept"], "image_id"]
    return images.select(images.metadata["image_id"].isin(kept).to_numpy().nonzero()[0])
