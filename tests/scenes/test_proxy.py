"""The preference model: batches do not matter, files survive, training moves it where the answers point."""

import numpy as np
import pytest
import torch
from PIL import Image

from rsidiff_kedro.rewards.registry import REWARDS, load_reward
from rsidiff_kedro.scenes.plugins.proxy import ProxyConfig, ProxyModel, ProxyReward
from rsidiff_kedro.scenes.pretraining.fitting import Schedule
from rsidiff_kedro.scenes.pretraining.proxy import LabelledPairs, Preferences, pretrain_proxy, tune_proxy

CONFIG = ProxyConfig(("a", "red", "blue"), width=16, layers=1)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ProxyModel(CONFIG).eval()


def plain(color):
    return Image.new("RGB", (32, 32), color)


def test_scores_do_not_depend_on_the_batch(model):
    images = [plain((40 * n, 0, 0)) for n in range(5)]
    prompts = ["a red"] * 5
    together = ProxyReward(model=model, micro_batch_size=4).score(images, prompts)
    alone = [ProxyReward(model=model, micro_batch_size=4).score([image], ["a red"])[0] for image in images]
    assert together.dtype == np.float32
    assert together.shape == (5,)
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "RGB"])
@pytest.mark.parametrize("size", [(32, 32), (1, 1), (7, 90)])
def test_any_image_and_any_text_get_a_finite_score(model, mode, size):
    reward = ProxyReward(model=model)
    for prompt in ("", "a " * 100, "красный круг", "a red circle"):
        assert np.isfinite(reward.score([Image.new(mode, size)], [prompt])).all()


def test_features_do_not_read_the_prompt(model):
    reward = ProxyReward(model=model)
    image = plain((255, 0, 0))
    assert (reward.embed([image], ["a red"]) == reward.embed([image], ["a blue"])).all()
    assert reward.embed([image], ["a red"]).shape == (1, 16)


def test_what_is_saved_is_what_is_loaded(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = ProxyModel.from_pretrained(tmp_path)
    images, words = torch.rand(2, 3, 32, 32), model.word_ids(["a red", "a blue"])
    assert torch.equal(model(images, words), again(images, words))


def test_a_word_is_read_in_the_light_of_those_before_it_alone(model):
    images = torch.rand(1, 3, 32, 32).expand(2, -1, -1, -1)
    _, likelihoods = model.read(images, model.word_ids(["a red blue", "a red red"]))
    assert (likelihoods <= 0).all()
    assert (likelihoods[:, 3:] == 0).all()
    assert torch.allclose(likelihoods[0, :2], likelihoods[1, :2])
    assert likelihoods[0, 2] != likelihoods[1, 2]


def _data():
    pixels = torch.zeros(40, 3, 32, 32, dtype=torch.uint8)
    pixels[:20, 0], pixels[20:, 2] = 255, 255
    return pixels


def test_pairs_teach_what_belongs_together(model):
    pixels = _data()
    words = model.word_ids(["a red"] * 40)
    labels = torch.tensor([1.0] * 20 + [0.0] * 20)
    pretrain_proxy(model, LabelledPairs(pixels, words, labels), Schedule(40, 16, 1e-2, 5, 0.5), 0, None)
    red, blue = ProxyReward(model=model).score([plain((255, 0, 0)), plain((0, 0, 255))], ["a red"] * 2)
    assert red > blue + 1.0


def test_preferences_turn_the_order_round(model):
    pixels = _data()
    words = model.word_ids(["a red"] * 40)
    pairs = LabelledPairs(pixels, words, torch.full((40,), 0.5))
    preferences = Preferences(pixels, words, better=torch.arange(20, 40), worse=torch.arange(20))
    tune_proxy(model, pairs, preferences, Schedule(40, 16, 1e-2, 5, 0.5), 0, None)
    red, blue = ProxyReward(model=model).score([plain((255, 0, 0)), plain((0, 0, 255))], ["a red"] * 2)
    assert blue > red


def test_an_unknown_reward_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="proxy"):
        load_reward("beauty")
    assert REWARDS.names[:2] == ("proxy", "oracle")
