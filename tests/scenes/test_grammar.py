"""Captions say what scenes are, and scenes say their captions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsidiff_kedro.scenes.world.grammar import (
    RELATIONS,
    CaptionError,
    Scene,
    SceneObject,
    parse_caption,
    sample_distinct_scenes,
    sample_scene,
    single_object_scenes,
)

scenes = st.builds(
    lambda seed, n_objects: sample_scene(np.random.default_rng(seed), n_objects),
    st.integers(0, 2**32),
    st.sampled_from([1, 2]),
)


@given(scenes)
def test_a_caption_is_read_back_as_the_scene_that_wrote_it(scene):
    assert parse_caption(scene.caption) == scene


@given(scenes)
def test_case_spaces_and_a_full_stop_do_not_matter(scene):
    assert parse_caption("  " + scene.caption.upper().replace(" ", "   ") + ". ") == scene


@given(scenes)
def test_the_key_is_a_caption_that_says_the_same(scene):
    assert parse_caption(scene.key).key == scene.key


def test_a_relation_and_its_inverse_are_the_same_scene():
    assert (
        parse_caption("a red circle left of a small blue square").key
        == parse_caption("a small blue square right of a red circle").key
    )


def test_a_relation_turned_round_is_another_scene():
    assert (
        parse_caption("a red circle above a blue square").key != parse_caption("a red circle below a blue square").key
    )


@pytest.mark.parametrize(
    "text", ["", "a cat", "a red circle left of", "two red circles", "a red circle on a red background"]
)
def test_other_text_is_refused_with_an_example(text):
    with pytest.raises(CaptionError, match="say for example"):
        parse_caption(text)


def test_all_single_object_scenes_differ():
    keys = [scene.key for scene in single_object_scenes()]
    assert len(keys) == len(set(keys)) == 360


def test_distinct_scenes_do_not_repeat():
    drawn = sample_distinct_scenes(np.random.default_rng(0), 2)
    keys = [next(drawn).key for _ in range(300)]
    assert len(set(keys)) == 300


def test_two_objects_are_never_the_same():
    rng = np.random.default_rng(0)
    for _ in range(300):
        first, second = sample_scene(rng, 2).objects
        assert (first.shape, first.color) != (second.shape, second.color)


def test_an_object_without_size_says_none():
    assert Scene((SceneObject("circle", "red"),)).caption == "a red circle"
    assert set(RELATIONS) == {"left of", "right of", "above", "below"}
