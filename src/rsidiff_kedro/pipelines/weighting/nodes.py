"""The steps of weighting."""

import pandas as pd

from rsidiff_kedro.diffusion.image_set import ImageSet
from rsidiff_kedro.rewards import load_features
from rsidiff_kedro.statistics.distribution import ReferenceDistribution, WeightingSettings, weights_of_distances


def weigh_samples(
    images: ImageSet, selection: pd.DataFrame, base_images: ImageSet, settings: WeightingSettings
) -> pd.DataFrame:
    """Weigh the kept images by their distance to the reference: columns image_id, distance and weight."""
    embed = load_features(settings.features).embed
    reference = base_images if settings.reference == "base" else images
    reference_features = embed(reference.images, reference.metadata["text"].tolist())
    distribution = ReferenceDistribution.fit(reference_features, settings.shrinkage)
    kept = kept_images(images, selection)
    distances = distribution.squared_distance(embed(kept.images, kept.metadata["text"].tolist()))
    weights = weights_of_distances(distances, distribution.squared_distance(reference_features), settings)
    return pd.DataFrame({"image_id": kept.metadata["image_id"], "distance": distances, "weight": weights})


def kept_images(images: ImageSet, selection: pd.DataFrame) -> ImageSet:
    """The images that preference selection keeps, in the order in which they were drawn."""
    kept = selection.loc[selection["kept"], "image_id"]
    return images.select(images.metadata["image_id"].isin(kept).to_numpy().nonzero()[0])
