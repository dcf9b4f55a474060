"""Metrics, scores and images of a base and two rounds."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rsidiff_kedro.core.image_set import ImageSet

HOSTILE = "<script>alert('x')</script> & a \"red\" circle"


def scores_of(number: int) -> pd.DataFrame:
    """Return scores of two samples of ten prompts; a later round has more of them right."""
    table = pd.DataFrame(
        [(f"p{prompt}", sample, (prompt + sample) % 10) for prompt in range(10) for sample in range(2)],
        columns=["prompt_id", "sample_index", "level"],
    )
    return table.assign(
        image_id=[f"r{number}-{prompt}-{sample}" for prompt, sample in zip(table.prompt_id, table.sample_index)],
        text="a red circle",
        correct=table.level < 2 + 3 * number,
        attribute_accuracy=0.5 + 0.1 * number,
        hallucinations=np.where(table.level < 5, 2, 0),
        proxy=table.level / 10 + 0.2 * number,
    ).drop(columns="level")


def images_of(number: int, size: int = 8) -> ImageSet:
    scores = scores_of(number)
    metadata = scores[["image_id", "prompt_id", "text", "sample_index"]].assign(
        file_name="", seed=7, guidance_scale=3.0, num_inference_steps=8, checkpoint="c"
    )
    metadata.loc[metadata["prompt_id"] == "p0", "text"] = HOSTILE
    return ImageSet(metadata, [Image.new("RGB", (size, size), (number * 100, row, 0)) for row in range(len(scores))])


def metrics_of(number: int) -> dict[str, float | None]:
    scores = scores_of(number)
    accuracy = float(scores["correct"].mean())
    return {
        "test/prompt_accuracy": accuracy,
        "test/prompt_accuracy_low": accuracy - 0.1,
        "test/prompt_accuracy_high": accuracy + 0.1,
        "test/attribute_accuracy": 0.5 + 0.1 * number,
        "test/hallucination_rate": 0.5,
        "test/reward/proxy": float(scores["proxy"].mean()),
        "test/reward/proxy_low": 0.1,
        "test/reward/proxy_high": 1.0,
        "test/diversity": 0.5 - 0.1 * number,
        "test/distance_to_base": 0.1 * number,
        "gate/accepted": None if number == 0 else float(number != 2),
    }


@pytest.fixture
def metrics() -> list[dict[str, float | None]]:
    return [metrics_of(number) for number in range(3)]


@pytest.fixture
def scores() -> list[pd.DataFrame]:
    return [scores_of(number) for number in range(3)]


@pytest.fixture
def images() -> list[ImageSet]:
    return [images_of(number) for number in range(3)]
