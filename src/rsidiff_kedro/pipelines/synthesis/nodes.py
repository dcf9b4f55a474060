"""The steps of synthesis."""

import pandas as pd

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.diffusion.model import ModelSettings
from rsidiff_kedro.diffusion.sampling import SynthesisSettings
from rsidiff_kedro.pipelines import common


def generate_images(
    prompts: pd.DataFrame,
    parent: Adapter,
    model: ModelSettings,
    settings: SynthesisSettings,
    seed: int,
    round_number: int,
) -> ImageSet:
    """Generate the round's images; each round has seeds of its own."""
    purpose = f"round_{round_number}"
    samples, sampler = settings.samples_per_prompt, settings.sampler
    return common.generate_images(parent, prompts, samples, model, sampler, seed, purpose, round_number)


def keep_base_images(images: ImageSet) -> ImageSet:
    """Keep round 1's images, which the base model generated, under a name of their own; they take no more space."""
    return images
