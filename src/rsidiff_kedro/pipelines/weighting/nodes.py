"""Node functions of weighting."""

from functools import partial
from typing import Any

import pandas as pd

from rsidiff_kedro.core.image_set import ImageSet, concatenate
from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.execution.unfinished import unfinished_folder
from rsidiff_kedro.method.selecting import selecting_rewards
from rsidiff_kedro.method.settings import EarlyDroppingSettings, WeightingSettings
from rsidiff_kedro.reporting.training_samples import training_samples
from rsidiff_kedro.rewards.embedding import embed_sets
from rsidiff_kedro.rewards.settings import RewardsSettings


def weigh_kept_images(
    images: ImageSet,
    selection: pd.DataFrame,
    base_images: ImageSet,
    settings: WeightingSettings,
    models: RewardsSettings,
    model: ModelSettings,
) -> pd.DataFrame:
    """Weigh the kept images by their distance to the reference: columns image_id, distance and weight."""
    from rsidiff_kedro.diffusion.opening import embed_prompts
    from rsidiff_kedro.method import weighting

    kept, reference = kept_images(images, selection), _reference_images(images, base_images, settings)
    sets = {"reference": reference, "kept": kept}
    theirs, ours = embed_sets(settings.features, models, sets, unfinished_folder())
    reference_texts, texts = (part.metadata["text"].tolist() for part in sets.values())
    embed = partial(embed_prompts, model)
    weights = weighting.weigh_samples(theirs, reference_texts, ours, texts, settings, embed)
    return pd.concat([kept.metadata["image_id"], weights], axis="columns")


def show_training_samples(
    images: ImageSet,
    selection: pd.DataFrame,
    weights: pd.DataFrame,
    selects: bool,
    selection_rewards: dict[str, float],
    floors: dict[str, float],
    early_dropping: EarlyDroppingSettings | None,
) -> dict[str, Any]:
    """Keep thumbnails of a round's samples with their rewards, ranks and weights."""
    scored = list(dict.fromkeys([*selection_rewards, *floors]))
    selecting = selecting_rewards(selects, selection_rewards, floors, early_dropping)
    return training_samples(images, selection, weights, scored, selecting)


def _reference_images(images: ImageSet, base_images: ImageSet, settings: WeightingSettings) -> ImageSet:
    """Return the images that the kept ones are compared with; in round 1 the two sets are the same.

    Those that were dropped early are no images of the model.
    """
    images, base_images = _denoised(images), _denoised(base_images)
    if settings.reference == "round" or images.metadata.equals(base_images.metadata):
        return images
    return base_images if settings.reference == "base" else concatenate([base_images, images])


def _denoised(images: ImageSet) -> ImageSet:
    if "dropped" not in images.metadata:
        return images
    return images.select((~images.metadata["dropped"]).to_numpy().nonzero()[0])


def kept_images(images: ImageSet, selection: pd.DataFrame) -> ImageSet:
    """Return the images that preference selection keeps, in the order in which they were generated.

    Raises:
        InputError: the selection keeps what is no image of the set.
    """
    return images.select(images.rows_of(selection.loc[selection["kept"], "image_id"]))
