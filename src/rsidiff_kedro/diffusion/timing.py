"""Measure how fast a model generates and trains here, in a few steps."""

import time
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
import torch

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.devices import free_memory
from rsidiff_kedro.diffusion.model import DiffusionModel
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.replica import Plan, Replica, TrainingRows
from rsidiff_kedro.diffusion.sampling import Generating
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings, SamplerSettings
from rsidiff_kedro.execution.local import split

FEW, MANY = 2, 6
"""Denoising steps; their difference leaves out what is done once per image, such as decoding."""
REPEATS = 3
"""The fastest counts: the first warms up, and other programs slow down any of them."""
PATIENCE = 20.0
"""Seconds after which nothing is repeated, as on a CPU that is too slow for the model."""


class Speed(NamedTuple):
    """Seconds of an image's denoising step, of all else that generates an image, and of an image in a training step."""

    image_step: float
    image: float
    trained_image: float


def measure_speed(model: ModelSettings, sampler: SamplerSettings, settings: FinetuneSettings) -> Speed:
    """Generate and train on one micro-batch of each kind, which is as large as a run's."""
    step, image = _generating(load_model(model), sampler)
    free_memory()  # of the first model, before the second is opened
    return Speed(step, image, _training(load_model(model), settings))


def _generating(model: DiffusionModel, sampler: SamplerSettings) -> tuple[float, float]:
    images = sampler.micro_batch_size
    rows = pd.DataFrame({"text": [f"a photo {number}" for number in range(images)], "seed": range(images)})
    rows = rows.assign(file_name=rows["seed"].astype(str))
    (shard,) = split(rows["file_name"].tolist(), images)

    def seconds(steps: int) -> float:
        short = sampler.model_copy(update={"num_inference_steps": steps})
        task = Generating(model, None, short, None)
        generate = task.open()
        return _fastest(lambda: generate(shard, rows)) / images

    few = seconds(FEW)
    if few * images > PATIENCE:
        return few / FEW, 0.0
    step = max(seconds(MANY) - few, 0.0) / (MANY - FEW)
    return step, max(few - FEW * step, 0.0)


def _training(model: DiffusionModel, settings: FinetuneSettings) -> float:
    batch = min(settings.micro_batch_size or settings.batch_size, settings.batch_size)
    changes = {"adapter": "restart", "steps": REPEATS, "batch_size": batch, "micro_batch_size": None}
    plan = Plan(settings.model_copy(update=changes), seed=0, round_number=0)
    rows = TrainingRows(torch.randn((batch, *model.latent_shape)), torch.ones(batch), ["a photo"] * batch)
    replica, steps = Replica(model, Adapter({}), rows, plan, checkpoint=None), iter(range(REPEATS))

    def train() -> None:
        replica.backward(next(steps))
        replica.update()

    return _fastest(train) / batch


def _fastest(work: Callable[[], object]) -> float:
    found: list[float] = []
    while len(found) < REPEATS and sum(found) < PATIENCE:
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return min(found)
