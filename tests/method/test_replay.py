"""Replay: which images of earlier rounds a round is trained on again."""

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.training_set import TRAINING_COLUMNS, TrainingSet
from rsidiff_kedro.method.replay import weighted_images, with_replay
from rsidiff_kedro.method.settings import ReplaySettings

PIXEL = Image.new("RGB", (1, 1))


def image_set(number: int, count: int = 3) -> ImageSet:
    """Return a round's images, whose latents hold their round and position."""
    rows = [
        {
            "file_name": f"images/{number}_{row}.png",
            "image_id": f"{number}_{row}",
            "prompt_id": f"p{row}",
            "text": "a red circle",
            "sample_index": 0,
            "seed": row,
            "guidance_scale": 2.0,
            "num_inference_steps": 8,
            "checkpoint": "c",
        }
        for row in range(count)
    ]
    latents = torch.tensor([[float(number), float(row)] for row in range(count)]).reshape(count, 2, 1, 1)
    return ImageSet(pd.DataFrame(rows), [PIXEL] * count, latents)


def kept_of(number: int) -> TrainingSet:
    """Return a round's training set of two images, without replay."""
    images = image_set(number, 2)
    return weighted_images(images, images.metadata[["image_id"]].assign(weight=1.0), number)


def rounds_after(settings: ReplaySettings, last: int) -> list[list[int]]:
    """Return by round, from 1 to the last, the rounds of the images that it is trained on."""
    trained, previous = [], None
    for number in range(1, last + 1):
        own = kept_of(number)
        previous = own if previous is None else with_replay(own, previous, settings, number)
        trained.append(previous.metadata["round"].tolist())
        assert previous.latents[:, 0].flatten().tolist() == trained[-1]
    return trained


def test_a_round_keeps_the_weighted_images_in_their_order_with_their_latents() -> None:
    weights = pd.DataFrame({"image_id": ["4_2", "4_0"], "weight": [0.5, 1.5]})
    found = weighted_images(image_set(4), weights, 4)
    assert found.metadata["image_id"].tolist() == ["4_0", "4_2"]
    assert found.metadata["weight"].tolist() == [1.5, 0.5]
    assert set(found.metadata["round"]) == {4}
    assert found.latents[:, 1].flatten().tolist() == [0.0, 2.0]
    assert set(TRAINING_COLUMNS) <= set(found.metadata) and "file_name" not in found.metadata


def test_images_without_latents_are_no_training_set() -> None:
    images = image_set(1)
    with pytest.raises(ValueError, match="needs images with latents"):
        weighted_images(ImageSet(images.metadata, images.images), images.metadata.assign(weight=1.0), 1)


def test_weights_of_other_images_are_refused() -> None:
    weights = pd.DataFrame({"image_id": ["4_2", "4_9"], "weight": [0.5, 1.5]})
    with pytest.raises(InputError, match="1 of 2 rows are of no image of the set, '4_9' first, so they are of other"):
        weighted_images(image_set(4), weights, 4)


def test_without_replay_a_round_is_trained_on_its_own_images() -> None:
    assert rounds_after(ReplaySettings(rounds=0), 3) == [[1, 1], [2, 2], [3, 3]]
    own = kept_of(2)
    assert with_replay(own, kept_of(1), ReplaySettings(rounds=0), 2) is own


def test_a_rounds_own_images_come_first_and_those_of_the_last_rounds_follow() -> None:
    assert rounds_after(ReplaySettings(rounds=1), 4)[3] == [4, 4, 3, 3]
    assert rounds_after(ReplaySettings(rounds=2), 4)[3] == [4, 4, 3, 3, 2, 2]


def test_the_bases_images_are_replayed_in_every_round() -> None:
    assert rounds_after(ReplaySettings(rounds=0, base=True), 4) == [[1, 1], [2, 2, 1, 1], [3, 3, 1, 1], [4, 4, 1, 1]]
    assert rounds_after(ReplaySettings(rounds=1, base=True), 4)[3] == [4, 4, 3, 3, 1, 1]


@given(st.integers(0, 7), st.booleans(), st.integers(1, 7))
def test_no_image_is_replayed_twice_and_none_is_missing(replayed: int, base: bool, last: int) -> None:
    earlier = {number for number in range(1, last) if number >= last - replayed or (base and number == 1)}
    assert sorted(rounds_after(ReplaySettings(rounds=replayed, base=base), last)[-1]) == sorted([*earlier, last] * 2)


@pytest.mark.parametrize("rounds", [-1, 101])
def test_rounds_out_of_range_are_refused(rounds: int) -> None:
    with pytest.raises(ValidationError):
        ReplaySettings(rounds=rounds)
