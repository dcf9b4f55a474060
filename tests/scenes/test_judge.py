"""The judge on rendered truth, on contradicting captions and on malformed drawings."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsidiff_kedro.evaluation.diversity import open_diversity
from rsidiff_kedro.scenes.pretraining.annotators import contradict
from rsidiff_kedro.scenes.world.grammar import BACKGROUNDS, SHAPES, CaptionError, parse_caption, sample_scene
from rsidiff_kedro.scenes.world.judge import judge, judge_images, see
from rsidiff_kedro.scenes.world.renderer import FLAWS, Picture, add_flaw, add_stray, compose, render

N = 5000


@pytest.fixture(scope="module")
def rendered():
    """Scenes, pictures and pixels; half of them with two objects."""
    rng = np.random.default_rng(7)
    scenes = [sample_scene(rng, 1 + number % 2) for number in range(N)]
    pictures = [compose(scene, rng) for scene in scenes]
    return scenes, pictures, [render(picture) for picture in pictures]


def test_rendered_truth_is_right_on_99_5_percent_for_each_shape_and_number_of_objects(rendered):
    scenes, _, pixels = rendered
    right = np.array([judge(image, scene.caption).correct for scene, image in zip(scenes, pixels)])
    assert right.mean() >= 0.995
    for n_objects in (1, 2):
        assert right[[len(scene.objects) == n_objects for scene in scenes]].mean() >= 0.99
    for shape in SHAPES:
        assert right[[shape in {item.shape for item in scene.objects} for scene in scenes]].mean() >= 0.99


def test_a_caption_that_contradicts_one_attribute_or_the_relation_is_wrong_on_99_5_percent(rendered):
    scenes, _, pixels = rendered
    rng = np.random.default_rng(8)
    wrong = [not judge(image, contradict(scene, rng).caption).correct for scene, image in zip(scenes, pixels)]
    assert np.mean(wrong) >= 0.995


def test_malformed_drawings_are_wrong_on_95_percent(rendered):
    scenes, pictures, _ = rendered
    rng = np.random.default_rng(9)
    verdicts = [judge(render(add_flaw(picture, rng)), scene.caption) for scene, picture in zip(scenes[:1500], pictures)]
    assert np.mean([not verdict.correct for verdict in verdicts]) >= 0.95


def test_a_stray_blob_is_a_hallucination(rendered):
    scenes, pictures, _ = rendered
    rng = np.random.default_rng(10)
    strayed = [(scene, add_stray(picture, rng)) for scene, picture in zip(scenes[:500], pictures)]
    verdicts = [judge(render(picture), scene.caption) for scene, picture in strayed if picture.strays]
    assert len(verdicts) > 300
    assert np.mean([verdict.uncalled == 1 and verdict.malformed == 0 for verdict in verdicts]) >= 0.99


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 2]))
def test_a_mirrored_picture_is_right_for_the_mirrored_relation(seed, n_objects):
    rng = np.random.default_rng(seed)
    scene = sample_scene(rng, n_objects)
    mirrored = render(compose(scene, rng))[:, ::-1]
    caption = scene.caption
    if scene.relation in ("left of", "right of"):
        other = "right of" if scene.relation == "left of" else "left of"
        caption = caption.replace(scene.relation, other)
    assert judge(mirrored, caption).correct


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_any_picture_at_all_gets_a_verdict(seed):
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, size=(32, 32, 3), dtype=np.uint8)
    verdict = judge(noise, sample_scene(rng, 2).caption)
    assert 0.0 <= verdict.grade <= verdict.attribute_accuracy <= 1.0


@pytest.mark.parametrize("background", list(BACKGROUNDS))
def test_an_empty_picture_has_no_object(background):
    verdict = judge(render(Picture(background, ())), f"a red circle on a {background} background")
    assert not verdict.correct
    assert verdict.attributes["background"]
    assert not verdict.attributes["count"]


def test_the_judge_sees_what_was_drawn():
    rng = np.random.default_rng(0)
    picture = compose(parse_caption("a small red circle left of a large blue square on a white background"), rng)
    background, forms, strays = see(render(picture))
    assert (background, strays) == ("white", 0)
    assert {(form.size, form.color, form.shape) for form in forms} == {
        ("small", "red", "circle"),
        ("large", "blue", "square"),
    }


def test_what_the_caption_leaves_open_is_told(rendered):
    scene = parse_caption("a red circle left of a large blue square")
    pictures = [compose(scene, np.random.default_rng(seed)) for seed in range(40)]
    shown = [judge(render(picture), scene.caption).left_open for picture in pictures]
    assert all(set(each) == {"background", "place_1", "place_2", "size_1"} for each in shown)
    assert [each["background"] for each in shown] == [picture.background for picture in pictures]
    assert [each["place_2"] for each in shown] == [
        f"{picture.forms[1].x / 4:.0f},{picture.forms[1].y / 4:.0f}" for picture in pictures
    ]


def test_diversity_counts_open_attributes_in_which_two_right_samples_differ():
    def verdict(prompt, correct, **shown):
        return {"prompt_id": prompt, "correct": correct, "left_open": json.dumps(shown)}

    verdicts = pd.DataFrame(
        [
            verdict("same", True, size_1="small", place_1="4,4"),
            verdict("same", True, size_1="small", place_1="4,4"),
            verdict("half", True, size_1="small", place_1="4,4"),
            verdict("half", True, size_1="large", place_1="4,4"),
            verdict("half", False, size_1="large", place_1="1,1"),
            verdict("alone", True, size_1="small", place_1="4,4"),
        ]
    )
    assert open_diversity(verdicts).to_dict() == {"same": 0.0, "half": 0.5}


def test_pictures_of_one_prompt_differ_in_most_of_what_is_left_open_and_wrong_ones_do_not_count():
    scene, rng = parse_caption("a red circle"), np.random.default_rng(0)
    table = judge_images([render(compose(scene, rng)) for _ in range(40)], [scene.caption] * 40)
    table["prompt_id"] = "p"
    assert open_diversity(table)["p"] == pytest.approx((1 - 1 / 4 + 1 - 1 / 9 + 1 - 1 / 2) / 3, abs=0.08)
    assert open_diversity(table.assign(correct=False)).empty


def test_a_picture_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"32, 32, 3"):
        judge(np.zeros((64, 64, 3), np.uint8), "a red circle")


def test_a_caption_outside_the_grammar_is_refused():
    with pytest.raises(CaptionError):
        judge(np.zeros((32, 32, 3), np.uint8), "a cat")


def test_every_flaw_is_drawn(rendered):
    _, pictures, _ = rendered
    rng = np.random.default_rng(11)
    drawn = {form.flaw for picture in pictures[:200] for form in add_flaw(picture, rng).forms if form.flaw}
    assert drawn == set(FLAWS)
