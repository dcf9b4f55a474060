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
    """Score a round's images with every reward that selects or has a floor.

    Those that were dropped early have NaN: they cannot be kept, and a reward that compares a prompt's samples would
    compare the finished ones with them.
    """
    names = list(dict.fromkeys([*rewards, *floors]))
    if "dropped" not in images.metadata:
        return with_scores(images.metadata[SCORED], images.images, names, models, unfinished_folder())
    finished = images.select((~images.metadata["dropped"]).to_numpy().nonzero()[0])
    found = with_scores(finished.metadata[SCORED], finished.images, names, models, unfinished_folder())
    scores = images.metadata[[*SCORED, "dropped"]].join(found.set_index("image_id")[names], on="image_id")
    scores.attrs = found.attrs
    return scores
