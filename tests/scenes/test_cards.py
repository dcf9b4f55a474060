"""Model cards: their figures are what the judge says."""

import numpy as np
import pandas as pd
import pytest
import torch

from rsidiff_kedro.scenes import PROXY_FOLDER as PROXY
from rsidiff_kedro.scenes.plugins.proxy import ProxyModel, ProxyReward
from rsidiff_kedro.scenes.pretraining.autoencoder import build_autoencoder
from rsidiff_kedro.scenes.pretraining.cards import measure_base, measure_proxy
from rsidiff_kedro.scenes.world.grammar import sample_scene
from rsidiff_kedro.scenes.world.judge import judge_images
from rsidiff_kedro.scenes.world.renderer import add_stray


@pytest.fixture(scope="module")
def images(scene_images):
    """Return four samples of 40 scenes each, of which the second and third show a stray blob."""
    rng = np.random.default_rng(1)
    scenes = [sample_scene(rng, 1 + number % 2) for number in range(40)]
    return scene_images(scenes, 4, spoil={1: add_stray, 2: add_stray})


@pytest.fixture(scope="module")
def verdicts(images) -> pd.DataFrame:
    return images.metadata.join(judge_images(images.images, images.metadata["text"].tolist()))


def test_the_bases_figures_are_shares_of_its_samples(images, verdicts) -> None:
    torch.manual_seed(0)
    figures = measure_base(build_autoencoder((16, 16), 4).eval(), images, verdicts, seed=0)
    assert figures["accuracy"] == pytest.approx(0.5, abs=0.05)
    assert figures["uncalled_rate"] == pytest.approx(0.5, abs=0.05)
    assert figures["best_of_4"] == 1
    assert figures["crispness"] == pytest.approx(1)
    assert figures["attribute_accuracy/color"] == pytest.approx(1)
    assert figures["reconstructions/accuracy"] < 0.1  # it was never trained


def test_the_best_sample_is_right_more_often_than_a_random_one(images, verdicts) -> None:
    figures = measure_proxy(ProxyModel.from_pretrained(PROXY), images, verdicts)
    assert figures["best/random"] == pytest.approx(verdicts["correct"].mean())
    assert figures["best/random"] < figures["best/proxy"] <= figures["best/judge"] == 1
    assert figures["pairwise_agreement"] > 0.9
    assert ProxyReward().score(images.images[:1], images.metadata["text"].tolist()[:1]).shape == (1,)
