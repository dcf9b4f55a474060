"""The training set: this round's kept images with their weights, and those of recent rounds."""

import pandas as pd
import pytest
import torch

from rsidiff_kedro.method.replay import weighted_images
from rsidiff_kedro.method.settings import ReplaySettings
from rsidiff_kedro.pipelines.finetune.nodes import build_training_set, measure_training


def keep_first_samples(images) -> pd.DataFrame:
    ids = images.metadata.loc[images.metadata["sample_index"] == 0, "image_id"]
    return pd.DataFrame({"image_id": ids, "distance": 1.0, "weight": [0.5, 1.0, 1.5]}).iloc[::-1]


@pytest.fixture
def history(make_images):
    """Return training sets of rounds 1, 2, 3 that replay everything."""
    images = [make_images(f"round_{n}") for n in (1, 2, 3)]
    sets = [weighted_images(images[0], keep_first_samples(images[0]), 1)]
    for number in (2, 3):
        new = images[number - 1]
        sets.append(build_training_set(new, keep_first_samples(new), sets[-1], ReplaySettings(rounds=5), number))
    return sets


def test_it_holds_the_kept_images_alone(history) -> None:
    assert history[0].metadata["image_id"].tolist() == ["round_1_p0_0", "round_1_p1_0", "round_1_p2_0"]


def test_each_image_carries_its_own_weight_whatever_the_order_of_the_table(history) -> None:
    assert history[0].metadata["weight"].tolist() == [0.5, 1.0, 1.5]


def test_latents_stay_with_their_images(history, make_images) -> None:
    assert torch.equal(history[0].latents[:], make_images("round_1").latents[[0, 2, 4]])


def test_earlier_rounds_are_replayed_with_their_round_and_weight(history) -> None:
    assert history[2].metadata["round"].value_counts().to_dict() == {1: 3, 2: 3, 3: 3}
    assert history[2].metadata.groupby("round")["weight"].sum().tolist() == [3.0, 3.0, 3.0]


@pytest.mark.parametrize(("replay", "rounds"), [(0, {3}), (1, {2, 3}), (2, {1, 2, 3})])
def test_rounds_older_than_the_window_are_left_out(history, make_images, replay: int, rounds: set[int]) -> None:
    new = make_images("round_3")
    built = build_training_set(new, keep_first_samples(new), history[1], ReplaySettings(rounds=replay), 3)
    assert set(built.metadata["round"]) == rounds


@pytest.mark.parametrize(("replay", "rounds"), [(0, {1, 3}), (1, {1, 2, 3})])
def test_what_the_base_generated_stays_however_old(history, make_images, replay: int, rounds: set[int]) -> None:
    new = make_images("round_3")
    built = build_training_set(new, keep_first_samples(new), history[1], ReplaySettings(rounds=replay, base=True), 3)
    assert set(built.metadata["round"]) == rounds
    assert built.metadata["image_id"].is_unique


def test_training_metrics_are_finite_numbers(history) -> None:
    selection = pd.DataFrame({"kept": [True, False], "margin": [0.5, -0.5]})
    log = pd.DataFrame({"step": [0, 1], "loss": [2.0, 1.0], "learning_rate": [1e-4] * 2})
    metrics = measure_training(selection, history[0].metadata, history[0], log)
    assert metrics["selection/margin"] == 0.5
    assert metrics["training/final_loss"] == 1.0
    assert 0 < metrics["weights/effective_sample_size"] <= 1
