"""Small image sets for node tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from rsidiff_kedro.core.image_set import ImageSet


@pytest.fixture(scope="module")
def own_project(link_project: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project of this module alone, with the configuration of this repository."""
    return link_project(tmp_path_factory.mktemp("own") / "project")


@pytest.fixture
def make_images() -> Callable[..., ImageSet]:
    """Return `make_images("round_1", n_prompts, samples_per_prompt)`: noise of 32 x 32 pixels with latents."""

    def make(purpose: str, n_prompts: int = 3, samples: int = 2, text: str = "a red circle") -> ImageSet:
        rng = np.random.default_rng(len(purpose) + n_prompts)
        rows = [
            {
                "file_name": f"images/{purpose}_p{prompt}_{sample}.png",
                "image_id": f"{purpose}_p{prompt}_{sample}",
                "prompt_id": f"p{prompt}",
                "text": text,
                "sample_index": sample,
                "seed": prompt * 10 + sample,
                "guidance_scale": 2.0,
                "num_inference_steps": 2,
                "checkpoint": "base",
            }
            for prompt in range(n_prompts)
            for sample in range(samples)
        ]
        images = [Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)) for _ in rows]
        return ImageSet(pd.DataFrame(rows), images, torch.arange(len(rows) * 4.0).reshape(len(rows), 1, 2, 2))

    return make
