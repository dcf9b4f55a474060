"""The steps of preference selection."""

import pandas as pd

from rsidiff_kedro.diffusion.image_set import ImageSet
from rsidiff_kedro.rewards import load_reward


def score_images(images: ImageSet, rewards: dict[str, float], floors: dict[str, float]) -> pd.DataFrame:
    """Score a round's images with every reward that selects or has a floor."""
    scores = images.metadata[["image_id", "prompt_id", "text", "sample_index"]].copy()
    for name in dict.fromkeys([*rewards, *floors]):
        scores[name] = load_reward(name).score(images.images, scores["text"].tolist())
    return scores
