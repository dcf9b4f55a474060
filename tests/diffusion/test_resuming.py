"""Killed in the middle, drawing, encoding and fine-tuning go on where they stopped and end in the same bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings, SamplerSettings

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.diffusion import training
from rsidiff_kedro.diffusion.families import PipelineBackbone, load_backbone
from rsidiff_kedro.diffusion.real_images import encode_pairs
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.training import finetune, initial_adapter

PROMPTS = pd.DataFrame({"prompt_id": ["aa", "bb", "cc"], "text": ["a red circle", "a blue square", "a cat"]})
SAMPLER = SamplerSettings(num_inference_steps=2, micro_batch_size=4)  # three micro-batches, the last filled up
SETTINGS = FinetuneSettings(rank=2, steps=7, batch_size=4, learning_rate=1e-2, checkpoint_every=2, ema_decay=0.5)


class Killed(BaseException):
    """What no handler catches, as a kill."""


def dies_after(calls: int, function: Callable[..., Any]) -> tuple[Callable[..., Any], list[int]]:
    """The function, which ends the process at the call after so many; and a list that grows by one a call."""
    made: list[int] = []

    def counted(*args: Any, **options: Any) -> Any:
        if len(made) == calls:
            raise Killed
        made.append(len(made))
        return function(*args, **options)

    return counted, made


def draw(backbone: PipelineBackbone, folder: Path | None) -> ImageSet:
    return sample_images(backbone, None, PROMPTS, 3, SAMPLER, 0, "test", "drawing", folder)


def drawing_backbone(model: ModelSettings, calls: int) -> tuple[PipelineBackbone, list[int]]:
    backbone = load_backbone(model)
    backbone.generate, made = dies_after(calls, backbone.generate)  # type: ignore[method-assign]
    return backbone, made


def assert_equal(images: ImageSet, others: ImageSet) -> None:
    pd.testing.assert_frame_equal(images.metadata, others.metadata)
    assert images.latents is not None
    assert others.latents is not None
    assert torch.equal(images.latents, others.latents)
    for image, other in zip(images.images, others.images, strict=True):
        assert np.array_equal(np.asarray(image), np.asarray(other))


def test_drawing_goes_on_after_the_last_whole_micro_batch(model: ModelSettings, tmp_path: Path) -> None:
    backbone, _ = drawing_backbone(model, calls=2)
    with pytest.raises(Killed):
        draw(backbone, tmp_path)
    backbone, made = drawing_backbone(model, calls=9)
    resumed = draw(backbone, tmp_path)
    assert len(made) == 1
    assert_equal(resumed, draw(load_backbone(model), None))


@pytest.mark.parametrize("damaged", ["images/test_bb_1.png", "test_bb_1.safetensors"])
def test_a_damaged_micro_batch_is_drawn_again(model: ModelSettings, tmp_path: Path, damaged: str) -> None:
    whole = draw(load_backbone(model), tmp_path)
    path = tmp_path / damaged
    path.write_bytes(path.read_bytes()[:50])
    backbone, made = drawing_backbone(model, calls=9)
    assert_equal(draw(backbone, tmp_path), whole)
    assert len(made) == 1
    assert_equal(whole, draw(load_backbone(model), None))


def test_real_images_are_not_encoded_twice(model: ModelSettings, tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(6)]
    for number, name in enumerate(names):
        Image.new("RGB", (40, 32), (40 * number, 0, 9)).save(tmp_path / name)
    pairs = pd.DataFrame({"file_name": names, "text": [f"picture {name}" for name in names]})
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    backbone = load_backbone(model)
    backbone.encode_images, _ = dies_after(1, backbone.encode_images)  # type: ignore[method-assign]
    with pytest.raises(Killed):
        encode_pairs(backbone, tmp_path, pairs, 4, unfinished)
    backbone = load_backbone(model)
    backbone.encode_images, made = dies_after(9, backbone.encode_images)  # type: ignore[method-assign]
    resumed = encode_pairs(backbone, tmp_path, pairs, 4, unfinished)
    assert len(made) == 1
    assert_equal(resumed, encode_pairs(load_backbone(model), tmp_path, pairs, 4))


@pytest.fixture(scope="module")
def training_set(model: ModelSettings) -> ImageSet:
    drawn = draw(load_backbone(model), None)
    return ImageSet(drawn.metadata.assign(weight=1.0), drawn.images, drawn.latents)


@pytest.mark.parametrize("steps_before", [1, 2, 5, 6])
def test_fine_tuning_goes_on_from_its_last_checkpoint(
    model: ModelSettings, training_set: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps_before: int
) -> None:
    def train(folder: Path | None) -> tuple[str, pd.DataFrame]:
        parent = initial_adapter(load_backbone(model), SETTINGS, seed=0)
        adapter, log = finetune(load_backbone(model), parent, training_set, SETTINGS, 0, 1, folder)
        return adapter.digest, log

    whole, log = train(None)
    step = training._backward
    killed, _ = dies_after(steps_before, step)
    monkeypatch.setattr(training, "_backward", killed)
    with pytest.raises(Killed):
        train(tmp_path)
    counted, made = dies_after(99, step)
    monkeypatch.setattr(training, "_backward", counted)
    resumed, resumed_log = train(tmp_path)
    assert resumed == whole
    pd.testing.assert_frame_equal(resumed_log, log)
    assert len(made) == SETTINGS.steps - steps_before // 2 * 2


def test_a_state_that_cannot_be_read_is_no_state(model: ModelSettings, training_set: ImageSet, tmp_path: Path) -> None:
    parent = initial_adapter(load_backbone(model), SETTINGS, seed=0)
    whole, _ = finetune(load_backbone(model), parent, training_set, SETTINGS, 0, 1)
    (tmp_path / "training.safetensors").write_bytes(b"\x00" * 9)
    again, _ = finetune(load_backbone(model), parent, training_set, SETTINGS, 0, 1, tmp_path)
    assert again.digest == whole.digest
