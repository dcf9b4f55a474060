"""Node functions of synthesis."""

import pandas as pd

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.execution.unfinished import unfinished_folder
from rsidiff_kedro.method.settings import SynthesisSettings
from rsidiff_kedro.rewards.scoring import RewardOpening
from rsidiff_kedro.rewards.settings import RewardsSettings


def generate_images(
    prompts: pd.DataFrame,
    parent: Adapter,
    model: ModelSettings,
    settings: SynthesisSettings,
    models: RewardsSettings,
    seed: int,
    round_number: int,
) -> ImageSet:
    """Generate the round's images; each round has its own seeds, and early dropping may end some samples."""
    from rsidiff_kedro.diffusion.early_dropping import EarlyDropping
    from rsidiff_kedro.diffusion.sampling import sample_images

    samples, sampler = settings.samples_per_prompt, settings.sampler
    purpose, title = f"round_{round_number}", "generating images"
    given, dropping = settings.early_dropping, None
    if given is not None:
        dropping = EarlyDropping(given.after, RewardOpening(given.reward, models), samples)
    kept = unfinished_folder()
    return sample_images(model, parent, prompts, samples, sampler, seed, purpose, title, kept, dropping)


def keep_base_images(images: ImageSet) -> ImageSet:
    """Keep round 1's images, which the base model generated, under their own name; the files are linked."""
    return images
