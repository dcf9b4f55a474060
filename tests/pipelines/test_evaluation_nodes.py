"""A test takes the images and scores of the last test before if the gate kept its adapter."""

from dataclasses import replace

import pandas as pd
import pytest
from PIL import Image

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.settings import LoraSettings, ModelSettings, SamplerSettings
from rsidiff_kedro.diffusion.training import initial_adapter
from rsidiff_kedro.evaluation.settings import EvaluationSettings
from rsidiff_kedro.pipelines.common import generate_images, score_images
from rsidiff_kedro.pipelines.evaluation.nodes import (
    generate_images_unless_kept,
    measure_validation,
    score_images_unless_kept,
)
from rsidiff_kedro.rewards.settings import RewardsSettings

MODEL = ModelSettings(base="scenes")
QUICK = SamplerSettings(num_inference_steps=1, guidance_scale=2.0, micro_batch_size=2)
GENERATING = (prompt_table(["a red circle"], "grammar"), 2, MODEL, QUICK, 0)
SCORING = (["proxy"], {"proxy": 1.0}, "scenes", RewardsSettings())


@pytest.fixture(scope="module")
def kept() -> Adapter:
    return initial_adapter(load_model(MODEL), LoraSettings(rank=2), 0)


def pixels(images: ImageSet) -> list[bytes]:
    return [image.tobytes() for image in images.images]


def test_a_kept_adapter_is_not_tested_again_and_its_test_is_the_same(kept: Adapter) -> None:
    tested = generate_images(kept, *GENERATING, "test")
    marked = replace(tested, images=[Image.new("RGB", (4, 4))] * 2)
    assert generate_images_unless_kept(kept, kept, marked, *GENERATING) is marked
    scores = score_images(tested, *SCORING)
    assert score_images_unless_kept(kept, kept, scores, tested, *SCORING) is scores
    again = generate_images(kept, *GENERATING, "test")
    assert pixels(again) == pixels(tested)
    pd.testing.assert_frame_equal(again.metadata, tested.metadata)
    pd.testing.assert_frame_equal(score_images(again, *SCORING), scores)


def test_another_adapter_is_tested(kept: Adapter) -> None:
    weights = {name: value + 0.01 for name, value in kept.weights.items()}
    accepted = replace(kept, weights=weights)
    before = generate_images(kept, *GENERATING, "test")
    tested = generate_images_unless_kept(accepted, kept, before, *GENERATING)
    assert pixels(tested) != pixels(before)
    assert set(tested.metadata["checkpoint"]) == {accepted.digest}
    scores = score_images(before, *SCORING)
    assert not scores.equals(score_images_unless_kept(accepted, kept, scores, tested, *SCORING))


def test_a_gates_verdict_of_an_older_version_is_that_of_a_gate() -> None:
    """Verdicts did not say whether there was a gate."""
    scores = pd.DataFrame({"prompt_id": ["a", "b"], "proxy": [1.0, 2.0]})
    settings, figures = EvaluationSettings(features="proxy"), ("reward_difference", "accepted")
    old = dict.fromkeys([*figures, "reward_difference_low", "reward_difference_high"], 0.0)
    assert measure_validation(scores, {"proxy": 1.0}, settings, 0, old)["gate/enabled"] == 1.0
    assert measure_validation(scores, {"proxy": 1.0}, settings, 0, old | {"enabled": 0.0})["gate/enabled"] == 0.0
