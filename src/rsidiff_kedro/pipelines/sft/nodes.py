"""Node functions of supervised fine-tuning."""

import pandas as pd

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings, SamplerSettings, SftSettings
from rsidiff_kedro.execution.engine import current_engine
from rsidiff_kedro.execution.unfinished import unfinished_folder


def build_training_set(sft: SftSettings, model: ModelSettings, sampler: SamplerSettings) -> TrainingSet:
    """Read the real pairs and encode their images."""
    from rsidiff_kedro.diffusion.real_images import encode_pairs, read_pairs

    pairs = read_pairs(sft.images, sft.text_column)
    return encode_pairs(model, sft.images, pairs, sampler.micro_batch_size, unfinished_folder())


def finetune(
    training_set: TrainingSet, model: ModelSettings, settings: FinetuneSettings, sft: SftSettings, seed: int
) -> tuple[Adapter, pd.DataFrame]:
    """Train an adapter on the pairs for as many steps as all rounds together take; also return the log."""
    from rsidiff_kedro.diffusion import training
    from rsidiff_kedro.diffusion.opening import load_model

    longer, opened = settings.model_copy(update={"steps": sft.steps}), load_model(model)
    start = training.initial_adapter(opened, settings, seed)
    opened.remove_adapter()
    where = opened if current_engine().replicas is None else model
    return training.finetune(where, start, training_set, longer, seed, 1, unfinished_folder())
