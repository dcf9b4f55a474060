"""Diversity and distance of sets of features."""

import json

import numpy as np
import pandas as pd
import pytest

from rsidiff_kedro.evaluation.distance import frechet_distance
from rsidiff_kedro.evaluation.diversity import embedding_spread, open_diversity


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


def test_frechet_distance_of_a_single_image_is_unknown():
    assert np.isnan(frechet_distance(np.ones((1, 3)), np.ones((1, 3))))


def test_frechet_distance_refuses_features_of_two_widths():
    with pytest.raises(ValueError, match="one width"):
        frechet_distance(np.ones((4, 3)), np.ones((4, 2)))
