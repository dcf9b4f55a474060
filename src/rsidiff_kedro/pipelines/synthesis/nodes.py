"""The steps of synthesis."""

import pandas as pd

from rsidiff_kedro.diffusion.adapters import Adapter
from rsidiff_kedro.diffusion.backbones import load_backbone
from rsidiff_kedro.diffusion.image_set import ImageSet
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.lineage.unfinished import unfinished_folder
from rsidiff_kedro.parameters import SynthesisSettings


def draw_images(
    prompts: pd.DataFrame,
    adapter: Adapter,
    model: ModelSettings,
    settings: SynthesisSettings,
    seed: int,
    round_number: int,
) -> ImageSet:
    """Draw the round's images with the adapter that the round before it left."""
    return sample_images(
        load_backbone(model),
        adapter,
        prompts,
        settings.samples_per_prompt,
        settings.sampler,
        seed,
        purpose=f"round_{round_number}",
        title=f"round {round_number}: drawing",
        unfinished=unfinished_folder(),
    )
