"""Diversity and distance of sets of features."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rsidiff_kedro.evaluation.distance import frechet_distance
from rsidiff_kedro.evaluation.diversity import embedding_spread, open_diversity, vendi_score

features = arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 6)), elements=st.floats(-10, 10, width=32))


@given(features)
def test_vendi_score_lies_between_one_and_the_number_of_images(features):
    assert 1 - 1e-6 <= vendi_score(features) <= len(features) + 1e-6


@given(features, st.randoms())
def test_vendi_score_does_not_depend_on_the_order(features, random):
    order = random.sample(range(len(features)), len(features))
    assert vendi_score(features[order]) == pytest.approx(vendi_score(features))


def test_vendi_score_counts_images_that_have_nothing_in_common():
    assert vendi_score(np.eye(5)) == pytest.approx(5)
    assert vendi_score(np.ones((5, 3))) == pytest.approx(1)
    assert vendi_score(np.repeat(np.eye(2), 4, axis=0)) == pytest.approx(2)


def test_vendi_score_refuses_no_images():
    with pytest.raises(ValueError, match="one image"):
        vendi_score(np.empty((0, 4)))


def test_the_embedding_spread_is_the_mean_cosine_distance_within_each_prompt():
    rows = np.array([[1, 0], [0, 1], [1, 1], [2, 2], [3, 0]], dtype=float)
    found = embedding_spread(rows, np.array(["b", "b", "a", "a", "c"]))
    assert found.index.tolist() == ["a", "b", "c"] and found.name == "embedding_spread"
    np.testing.assert_allclose(found, [0, 1, np.nan], atol=1e-12)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ([{"size": "small"}, {"size": "small", "color": "red"}], [0.5]),
        ([{"size": "small", "color": "red"}, {"size": "small"}], [0.5]),
        ([{"size": "small"}, {"color": "red"}], [1.0]),
        ([{}, {}], []),
    ],
)
def test_right_samples_may_leave_different_attributes_open(shown, expected):
    verdicts = pd.DataFrame({"prompt_id": "a", "correct": True, "left_open": [json.dumps(each) for each in shown]})
    assert open_diversity(verdicts).tolist() == expected


def test_frechet_distance_is_zero_to_itself_symmetric_and_grows_with_a_shift():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(60, 5)), rng.normal(size=(60, 5)) * 2
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    assert frechet_distance(a, a + 3) == pytest.approx(5 * 9)


def test_frechet_distance_refuses_features_of_two_widths():
    with pytest.raises(ValueError, match="one width"):
        frechet_distance(np.ones((4, 3)), np.ones((4, 2)))
