"""The judge as a reward."""

import numpy as np
import pytest
from PIL import Image

from rsidiff_kedro.rewards.registry import load_reward
from rsidiff_kedro.scenes.world.grammar import CaptionError, parse_caption
from rsidiff_kedro.scenes.world.renderer import add_stray, compose, render

CAPTION = "a red circle left of a blue square"


def test_a_right_picture_scores_one_and_a_wrong_one_less():
    rng = np.random.default_rng(0)
    picture = compose(parse_caption(CAPTION), rng)
    images = [Image.fromarray(render(each)) for each in (picture, add_stray(picture, rng))]
    scores = load_reward("oracle").score(images, [CAPTION, CAPTION])
    assert scores.dtype == np.float32
    assert scores.tolist() == [1.0, 0.75]


def test_a_prompt_that_the_judge_cannot_read_is_refused():
    with pytest.raises(CaptionError):
        load_reward("oracle").score([Image.new("RGB", (32, 32))], ["a castle at dawn"])
