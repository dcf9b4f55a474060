"""Killed in the middle, generating, encoding and fine-tuning go on where they stopped and end in the same bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.diffusion.model import DiffusionModel
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.real_images import encode_pairs
from rsidiff_kedro.diffusion.replica import Replica
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings, SamplerSettings
from rsidiff_kedro.diffusion.training import finetune, initial_adapter

PROMPTS = pd.DataFrame({"prompt_id": ["aa", "bb", "cc"], "text": ["a red circle", "a blue square", "a cat"]})
SAMPLER = SamplerSettings(num_inference_steps=2, micro_batch_size=4)  # three micro-batches, the last filled up
SETTINGS = FinetuneSettings(rank=2, steps=7, batch_size=4, learning_rate=1e-2, checkpoint_every=2, ema_decay=0.5)


class Killed(BaseException):
    """What no handler catches, as a kill."""


def dies_after(calls: int, function: Callable[..., Any]) -> tuple[Callable[..., Any], list[int]]:
    """Return the function, which ends the process at the call after so many, and a list that grows by one per call."""
    made: list[int] = []

    def counted(*args: Any, **options: Any) -> Any:
        if len(made) == calls:
            raise Killed
        made.append(len(made))
        return function(*args, **options)

    return counted, made


def generate(opened: DiffusionModel, folder: Path | None) -> ImageSet:
    return sample_images(opened, None, PROMPTS, 3, SAMPLER, 0, "test", "generating", folder)


def generating_model(model: ModelSettings, calls: int) -> tuple[DiffusionModel, list[int]]:
    opened = load_model(model)
    opened.generate, made = dies_after(calls, opened.generate)  # type: ignore[method-assign]
    return opened, made


def assert_equal(images: ImageSet, others: ImageSet) -> None:
    pd.testing.assert_frame_equal(images.metadata, others.metadata)
    assert images.latents is not None
    assert others.latents is not None
    assert torch.equal(images.latents[:], others.latents[:])
    for image, other in zip(images.images, others.images, strict=True):
        assert np.array_equal(np.asarray(image), np.asarray(other))


def test_generating_goes_on_after_the_last_whole_micro_batch(model: ModelSettings, tmp_path: Path) -> None:
    opened, _ = generating_model(model, calls=2)
    with pytest.raises(Killed):
        generate(opened, tmp_path)
    opened, made = generating_model(model, calls=9)
    resumed = generate(opened, tmp_path)
    assert len(made) == 1
    assert_equal(resumed, generate(load_model(model), None))


@pytest.mark.parametrize("damaged", ["images/test_bb_1.png", "test_bb_1.safetensors"])
def test_a_damaged_micro_batch_is_generated_again(model: ModelSettings, tmp_path: Path, damaged: str) -> None:
    whole = generate(load_model(model), tmp_path)
    path = tmp_path / damaged
    path.write_bytes(path.read_bytes()[:50])
    opened, made = generating_model(model, calls=9)
    assert_equal(generate(opened, tmp_path), whole)
    assert len(made) == 1
    assert_equal(whole, generate(load_model(model), None))


def test_real_images_are_not_encoded_twice(model: ModelSettings, tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(6)]
    for number, name in enumerate(names):
        Image.new("RGB", (40, 32), (40 * number, 0, 9)).save(tmp_path / name)
    pairs = pd.DataFrame({"file_name": names, "text": [f"picture {name}" for name in names]})
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    opened = load_model(model)
    opened.encode_images, _ = dies_after(1, opened.encode_images)  # type: ignore[method-assign]
    with pytest.raises(Killed):
        encode_pairs(opened, tmp_path, pairs, 4, unfinished)
    opened = load_model(model)
    opened.encode_images, made = dies_after(9, opened.encode_images)  # type: ignore[method-assign]
    resumed = encode_pairs(opened, tmp_path, pairs, 4, unfinished)
    assert len(made) == 1
    whole = encode_pairs(load_model(model), tmp_path, pairs, 4)
    pd.testing.assert_frame_equal(resumed.metadata, whole.metadata)
    assert torch.equal(resumed.latents[:], whole.latents[:])


@pytest.fixture(scope="module")
def training_set(model: ModelSettings) -> TrainingSet:
    images = generate(load_model(model), None)
    assert images.latents is not None
    return TrainingSet(images.metadata.assign(round=1, weight=1.0), images.latents)


DROPOUT = {"lora_dropout": 0.5, "use_dora": True, "micro_batch_size": 3, "layers": "attention"}


@pytest.mark.parametrize(("steps_before", "options"), [(1, {}), (2, {}), (5, {}), (6, {}), (3, DROPOUT)])
def test_fine_tuning_goes_on_from_its_last_checkpoint(
    model: ModelSettings,
    training_set: TrainingSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps_before: int,
    options: dict[str, Any],
) -> None:
    settings = SETTINGS.model_copy(update=options)

    def train(folder: Path | None) -> tuple[str, pd.DataFrame]:
        parent = initial_adapter(load_model(model), settings, seed=0)
        adapter, log = finetune(load_model(model), parent, training_set, settings, 0, 1, folder)
        return adapter.digest, log

    whole, log = train(None)
    step = Replica.backward
    killed, _ = dies_after(steps_before, step)
    monkeypatch.setattr(Replica, "backward", killed)
    with pytest.raises(Killed):
        train(tmp_path)
    counted, made = dies_after(99, step)
    monkeypatch.setattr(Replica, "backward", counted)
    resumed, resumed_log = train(tmp_path)
    assert resumed == whole
    pd.testing.assert_frame_equal(resumed_log, log)
    assert len(made) == SETTINGS.steps - steps_before // 2 * 2


@pytest.mark.parametrize("keep", [9, 0.5, 1])
def test_a_state_that_is_torn_is_no_state(
    model: ModelSettings, training_set: TrainingSet, tmp_path: Path, keep: float
) -> None:
    path = tmp_path / "training.safetensors"
    parent = initial_adapter(load_model(model), SETTINGS, seed=0)
    whole, _ = finetune(load_model(model), parent, training_set, SETTINGS, 0, 1, tmp_path)
    size = path.stat().st_size
    kept = path.read_bytes()[: int(keep * size) if keep <= 1 else 9]
    path.write_bytes((kept + bytes(size))[:size] if keep < 1 else kept[:-1] + bytes(1))
    again, _ = finetune(load_model(model), parent, training_set, SETTINGS, 0, 1, tmp_path)
    assert again.digest == whole.digest
