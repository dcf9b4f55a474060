"""A small image set and a small adapter."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import ImageSet


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
def adapter() -> Adapter:
    """Two tensors and where they come from."""
    weights = {"unet.b.lora_B.weight": torch.zeros(3, 2), "unet.a.lora_A.weight": torch.ones(2, 3)}
    return Adapter(weights, {"round": 1, "parent": "0123456789ab"})
