"""The steps of supervised fine-tuning."""

import pandas as pd

from rsidiff_kedro.diffusion import training
from rsidiff_kedro.diffusion.adapters import Adapter
from rsidiff_kedro.diffusion.backbones import load_backbone
from rsidiff_kedro.diffusion.image_set import ImageSet
from rsidiff_kedro.diffusion.real_images import encode_pairs, read_pairs
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings, SamplerSettings
from rsidiff_kedro.lineage.unfinished import unfinished_folder
from rsidiff_kedro.parameters import SftSettings


def build_training_set(sft: SftSettings, model: ModelSettings, sampler: SamplerSettings) -> ImageSet:
    """Read the real pairs and encode their images."""
    pairs = read_pairs(sft.images, sft.text_column)
    return encode_pairs(load_backbone(model), sft.images, pairs, sampler.micro_batch_size, unfinished_folder())


def finetune(
    training_set: ImageSet, model: ModelSettings, settings: FinetuneSettings, sft: SftSettings, seed: int
) -> tuple[Adapter, pd.DataFrame]:
    """Train an adapter on the pairs for as many steps as all rounds together take; also returns the log."""
    longer = settings.model_copy(update={"steps": sft.steps})
    start = training.initial_adapter(load_backbone(model), longer, seed)
    return training.finetune(load_backbone(model), start, training_set, longer, seed, 1, unfinished_folder())
