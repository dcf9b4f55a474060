"""A small image set, training set and adapter, and a folder on another file system."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.training_set import TrainingSet


@pytest.fixture
def image_set() -> ImageSet:
    """Five 8 x 8 images of noise with latents."""
    rng = np.random.default_rng(0)
    metadata = pd.DataFrame(
        {
            "file_name": "",
            "image_id": [f"round_1-p{row}-0" for row in range(5)],
            "prompt_id": [f"p{row}" for row in range(5)],
            "text": [f"a red circle <b>{row}</b> ☃" for row in range(5)],
            "sample_index": 0,
            "seed": range(5),
            "guidance_scale": 2.0,
            "num_inference_steps": 8,
            "checkpoint": "abc",
        }
    )
    images = [Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(5)]
    return ImageSet(metadata, images, torch.randn(5, 4, 4, 4, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def training_set(image_set: ImageSet) -> TrainingSet:
    """The latents and prompts of the image set, with weights."""
    assert image_set.latents is not None
    metadata = image_set.metadata.drop(columns="file_name").assign(round=1, weight=[0.0, 0.25, 0.5, 1.0, 2.0])
    return TrainingSet(metadata, image_set.latents)


@pytest.fixture
def other_file_system(tmp_path: Path) -> Iterator[Path]:
    """A folder to which nothing in `tmp_path` can be hard-linked."""
    place = Path("/dev/shm")
    if not os.access(place, os.W_OK) or place.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


@pytest.fixture
def adapter() -> Adapter:
    """Two tensors and where they come from."""
    weights = {"unet.b.lora_B.weight": torch.zeros(3, 2), "unet.a.lora_A.weight": torch.ones(2, 3)}
    return Adapter(weights, {"round": 1, "parent": "0123456789ab"})
