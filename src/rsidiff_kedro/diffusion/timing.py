"""Measure how fast a model generates and trains here, in a few steps."""

import time
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
import torch

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.diffusion.families import load_model
from rsidiff_kedro.diffusion.model import ModelSettings, SamplerSettings
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.training import FinetuneSettings, finetune

STEPS = 2
IMAGES = 4
"""Images at once, where the settings compute as many; larger batches take less time per image on a GPU."""


class Speed(NamedTuple):
    """Seconds of one image's denoising step when it is generated, and of one image in a training step."""

    image_step: float
    trained_image: float


def measure_speed(model: ModelSettings, sampler: SamplerSettings, settings: FinetuneSettings) -> Speed:
    """Generate and train on a few images of noise, each once to warm up and once by the clock."""
    opened = load_model(model)
    images = min(IMAGES, sampler.micro_batch_size)
    short = sampler.model_copy(update={"micro_batch_size": images, "num_inference_steps": STEPS})
    prompts = prompt_table([f"a photo {number}" for number in range(images)], "timing")

    def generate() -> None:
        sample_images(opened, None, prompts, 1, short, 0, "timing", "timing: generating")

    generate()
    image_step = _seconds(generate) / (images * STEPS)
    batch = min(IMAGES, settings.micro_batch_size or settings.batch_size)
    metadata = pd.DataFrame({"image_id": map(str, range(batch)), "prompt_id": "0", "text": "a photo"})
    metadata = metadata.assign(round=1, weight=1.0)
    data = TrainingSet(metadata, torch.randn((batch, *opened.latent_shape)))
    small = {"adapter": "restart", "batch_size": batch, "micro_batch_size": None}

    def train(steps: int) -> float:
        model_to_train = load_model(model)
        changed = settings.model_copy(update={**small, "steps": steps})
        return _seconds(lambda: finetune(model_to_train, Adapter({}), data, changed, 0, 0))

    # The difference leaves out what is done once, and the first step, which is slower.
    trained_image = max(train(1 + STEPS) - train(1), 0.0) / (STEPS * batch)
    return Speed(image_step, trained_image)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
