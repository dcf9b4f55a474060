"""The corpus is noisy at its rates, and knows nothing that is held out."""

import numpy as np
import pandas as pd
import pytest

from rsidiff_kedro.scenes.pretraining.annotators import annotate, annotated_scenes, label_pairs
from rsidiff_kedro.scenes.pretraining.corpus import NoiseRates, corpus_pixels, draw_corpus
from rsidiff_kedro.scenes.world.grammar import ANNOTATED, HELD_OUT, bucket, parse_caption
from rsidiff_kedro.scenes.world.judge import judge


@pytest.fixture(scope="module")
def corpus():
    return draw_corpus(1500, two_objects=0.5, noise=NoiseRates(caption=0.2, stray=0.1, malformed=0.05), seed=3)


def test_no_caption_is_held_out(corpus):
    assert all(bucket(parse_caption(caption)) >= HELD_OUT for caption in corpus["caption"])


def test_noise_comes_at_its_rates(corpus):
    for kind, rate in (("caption", 0.2), ("stray", 0.1), ("malformed", 0.05)):
        assert corpus["noise"].str.contains(kind).mean() == pytest.approx(rate, abs=0.05)


def test_clean_pairs_are_right_and_noisy_ones_wrong(corpus):
    right = np.array([judge(p, c).correct for p, c in zip(corpus_pixels(corpus), corpus["caption"])])
    clean = (corpus["noise"] == "").to_numpy()
    assert right[clean].mean() >= 0.99
    assert right[~clean].mean() <= 0.05


def test_the_same_seed_draws_the_same_corpus():
    noise = NoiseRates(caption=0.5, stray=0.5, malformed=0.5)
    first, second = (draw_corpus(20, 0.5, noise, seed=1) for _ in range(2))
    assert first.equals(second)


def test_labels_are_one_only_for_pairs_that_match(corpus):
    labels = label_pairs(corpus, wrong_share=0.5, seed=0)
    right = np.array([judge(p, c).correct for p, c in zip(corpus_pixels(corpus), labels["caption"])])
    assert right[labels["label"] == 1].mean() >= 0.99
    assert right[labels["label"] == 0].mean() <= 0.05


def test_a_wrong_caption_is_not_given_away_by_being_held_out(corpus):
    labels = label_pairs(corpus, wrong_share=1.0, seed=0)
    assert (labels["label"] == 0).mean() > 0.95
    assert all(bucket(parse_caption(caption)) >= HELD_OUT for caption in labels["caption"])


def test_annotated_prompts_are_neither_held_out_nor_for_training():
    scenes = annotated_scenes(10, 20, seed=0)
    assert len({scene.key for scene in scenes}) == 30
    assert all(HELD_OUT <= bucket(scene) < ANNOTATED for scene in scenes)


def test_annotators_err_at_their_rate_and_compare_within_a_prompt():
    rng = np.random.default_rng(0)
    verdicts = pd.DataFrame(
        {
            "prompt_id": np.repeat([f"p{n}" for n in range(200)], 6),
            "image_id": [f"i{n}" for n in range(1200)],
            "grade": rng.random(1200),
        }
    )
    answers = annotate(verdicts, pairs_per_prompt=5, error_rate=0.2, seed=0)
    grade = verdicts.set_index("image_id")["grade"]
    prompt = verdicts.set_index("image_id")["prompt_id"]
    contradicts = grade[answers["better"]].to_numpy() < grade[answers["worse"]].to_numpy()
    assert (contradicts == answers["wrong"].to_numpy()).all()
    assert contradicts.mean() == pytest.approx(0.2, abs=0.04)
    assert (prompt[answers["better"]].to_numpy() == prompt[answers["worse"]].to_numpy()).all()
