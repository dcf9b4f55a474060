"""The same prompts from the same noise with several adapters."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.diffusion import side_by_side, timing
from rsidiff_kedro.diffusion.model import DiffusionModel
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.settings import FinetuneSettings, LoraSettings, ModelSettings, SamplerSettings
from rsidiff_kedro.diffusion.side_by_side import sample_side_by_side


def test_one_model_is_gone_before_the_next_is_opened(
    family_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, alive = weakref.WeakSet[DiffusionModel](), list[int]()

    def load(model: ModelSettings) -> DiffusionModel:
        alive.append(len(opened))
        found = load_model(model)
        opened.add(found)
        found.itself = found  # a reference cycle, in which networks may sit, too
        return found

    for module in (side_by_side, timing):
        monkeypatch.setattr(module, "load_model", load)
    settings = ModelSettings(base=str(family_folder("stable_diffusion")), device="cpu")
    sampler = SamplerSettings(num_inference_steps=1, micro_batch_size=1)
    gc.disable()
    try:
        sample_side_by_side({"base": None, "again": None}, ["a red circle"], 1, settings, sampler, 0)
        gc.collect()
        timing.measure_speed(settings, sampler, FinetuneSettings(rank=2, batch_size=1))
    finally:
        gc.enable()
    assert alive == [0] * 4


def test_adapters_differ_in_nothing_but_themselves(family_folder: Callable[[str], Path]) -> None:
    settings = ModelSettings(base=str(family_folder("stable_diffusion")), device="cpu")
    model = load_model(settings)
    model.add_adapter(LoraSettings(rank=2, layers="attention"))
    fresh = model.export_adapter()
    torch.manual_seed(0)
    trained = {name: value + torch.randn_like(value) for name, value in fresh.items()}
    adapters = {"base": None, "fresh": Adapter(fresh), "trained": Adapter(trained)}
    sampler = SamplerSettings(num_inference_steps=2, micro_batch_size=32)
    found = sample_side_by_side(adapters, ["a red circle", "a blue square"], 2, settings, sampler, 0)
    pixels = {name: np.stack([np.asarray(image) for image in made.images]) for name, made in found.items()}
    assert {name: each.shape for name, each in pixels.items()} == dict.fromkeys(adapters, (4, 32, 32, 3))
    assert found["trained"].metadata["text"].tolist() == ["a red circle"] * 2 + ["a blue square"] * 2
    assert np.array_equal(pixels["base"], pixels["fresh"])
    assert not np.array_equal(pixels["base"], pixels["trained"])
    assert found["base"].metadata["seed"].equals(found["trained"].metadata["seed"])
