"""Node functions of preference selection."""

import pandas as pd

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.execution.unfinished import unfinished_folder
from rsidiff_kedro.pipelines.common import SCORED
from rsidiff_kedro.rewards.scoring import with_scores
from rsidiff_kedro.rewards.settings import RewardsSettings


def score_images(
    images: ImageSet, rewards: dict[str, float], floors: dict[str, float], models: RewardsSettings
) -> pd.DataFrame:
    """Score a round's images with every reward that selects or has a floor."""
    columns = [*SCORED, *images.metadata.columns.intersection(["dropped"])]
    return with_scores(images.metadata[columns], images.images, [*rewards, *floors], models, unfinished_folder())
