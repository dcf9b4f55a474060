"""Node functions of synthesis."""

import pandas as pd

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.diffusion.settings import ModelSettings, SynthesisSettings
from rsidiff_kedro.execution.unfinished import unfinished_folder


def generate_images(
    prompts: pd.DataFrame,
    parent: Adapter,
    model: ModelSettings,
    settings: SynthesisSettings,
    seed: int,
    round_number: int,
) -> ImageSet:
    """Generate the round's images; each round has its own seeds."""
    from rsidiff_kedro.diffusion.sampling import sample_images

    samples, sampler = settings.samples_per_prompt, settings.sampler
    purpose, title = f"round_{round_number}", "generating images"
    return sample_images(model, parent, prompts, samples, sampler, seed, purpose, title, unfinished_folder())


def keep_base_images(images: ImageSet) -> ImageSet:
    """Keep round 1's images, which the base model generated, under their own name; the files are linked."""
    return images
