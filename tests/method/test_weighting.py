"""Weights by distance to a reference distribution."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from rsidiff_kedro.core.training_set import effective_sample_size
from rsidiff_kedro.method.settings import WeightingSettings
from rsidiff_kedro.method.weighting import (
    ReferenceDistribution,
    WeightError,
    weights_of_distances,
)

REFERENCE = np.random.default_rng(0).chisquare(16, size=500)

distances = arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 100))
settings = st.builds(
    WeightingSettings,
    features=st.just("proxy"),
    quantile=st.floats(0, 1),
    temperature=st.floats(0.1, 10),
    min_weight=st.floats(0, 1),
    max_weight=st.floats(1, 10),
)


def weighting(**changed):
    """Return settings; these tests compute no features."""
    return WeightingSettings(features="proxy", **changed)


def weigh(distances, settings):
    """Return the weights; examples whose weights vanish are another test's."""
    try:
        return weights_of_distances(distances, REFERENCE, settings)
    except WeightError:
        assume(False)


@given(distances, settings)
def test_weights_have_mean_one_within_their_bounds(distances, settings):
    weights = weigh(distances, settings)
    assert weights.mean() == pytest.approx(1, abs=1e-6)
    assert weights.min() >= settings.min_weight and weights.max() <= settings.max_weight


@given(distances, settings)
def test_a_weight_never_rises_with_the_distance(distances, settings):
    assert (np.diff(weigh(distances, settings)[np.argsort(distances)]) <= 0).all()


@given(distances, settings, st.randoms())
def test_weights_follow_their_samples_when_these_are_permuted(distances, settings, random):
    order = random.sample(range(len(distances)), len(distances))
    permuted = weigh(distances[order], settings)
    np.testing.assert_allclose(permuted, weigh(distances, settings)[order], atol=1e-6)


def test_two_temperatures_of_spread_past_the_quantile_weigh_a_factor_e_less():
    edge = np.quantile(REFERENCE, 0.9)
    settings = weighting(quantile=0.9, temperature=1.0)
    near, far = weights_of_distances(np.array([0.0, edge + 2 * REFERENCE.std()]), REFERENCE, settings)
    assert near / far == pytest.approx(np.e)


def test_samples_within_the_quantile_all_weigh_the_same():
    typical = REFERENCE[np.quantile(REFERENCE, 0.9) > REFERENCE]
    np.testing.assert_allclose(weights_of_distances(typical, REFERENCE, weighting(quantile=0.9)), 1)


def test_without_weighting_all_weights_are_one():
    off = weighting(enabled=False)
    np.testing.assert_array_equal(weights_of_distances(np.array([0.0, 1e6]), REFERENCE, off), [1, 1])


def test_weights_that_all_vanish_are_an_error_that_names_the_temperature():
    with pytest.raises(WeightError, match=r"4 of 4 samples vanish.*weighting\.temperature"):
        weights_of_distances(np.full(4, 1e6), REFERENCE, weighting())


def test_more_vanished_weights_than_max_weight_makes_up_for_are_an_error():
    mostly_far = np.array([1.0] + [1e6] * 9)
    with pytest.raises(WeightError, match=r"9 of 10 samples vanish.*0\.5.*max_weight"):
        weights_of_distances(mostly_far, REFERENCE, weighting(max_weight=5))


@pytest.mark.parametrize("bad", [np.array([1.0, np.nan]), np.array([])])
def test_distances_that_are_no_numbers_are_an_error(bad):
    with pytest.raises(WeightError, match="finite"):
        weights_of_distances(bad, REFERENCE, weighting())


@pytest.mark.parametrize("wrong", [{"temperature": 0}, {"max_weight": 0.5}, {"min_weight": 1.5}, {"shrinkage": 2}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        weighting(**wrong)


@pytest.mark.parametrize("shrinkage", [None, 0.1])
def test_squared_distances_of_the_reference_average_to_about_its_dimension(shrinkage):
    features = np.random.default_rng(1).normal(size=(4000, 6)) * [1, 1, 2, 2, 3, 3]
    reference = ReferenceDistribution.fit(features, shrinkage)
    assert reference.squared_distance(features).mean() == pytest.approx(6, rel=0.1)


def test_more_features_than_images_still_give_finite_distances():
    features = np.random.default_rng(2).normal(size=(10, 50))
    assert np.isfinite(ReferenceDistribution.fit(features).squared_distance(features)).all()


@pytest.mark.parametrize("features", [np.ones((5, 3)), np.ones((1, 3)), np.full((5, 3), np.nan)])
def test_a_reference_that_does_not_vary_is_refused(features):
    with pytest.raises(WeightError, match="vary"):
        ReferenceDistribution.fit(features)


def test_effective_sample_size_is_one_for_equal_weights_and_falls_to_one_in_n():
    assert effective_sample_size(np.ones(4)) == 1
    assert effective_sample_size(np.array([4, 0, 0, 0])) == 0.25


def test_odd_images_of_the_reference_do_not_widen_it() -> None:
    rng = np.random.default_rng(0)
    typical, odd = rng.standard_normal((400, 8)), rng.standard_normal((80, 8)) + np.eye(8)[0] * 6
    reference = np.concatenate([typical, odd])
    plain, robust = (ReferenceDistribution.fit(reference, support_fraction=share) for share in (1.0, 0.7))
    far = [each.squared_distance(odd).mean() / each.squared_distance(typical).mean() for each in (plain, robust)]
    assert far[1] > 1.2 * far[0]
    assert len(robust.own_distances) == round(0.7 * 480)


def test_what_is_rare_along_leading_components_is_not_far_and_what_breaks_the_rule_is() -> None:
    rng = np.random.default_rng(0)
    usual, rare = (rng.standard_normal((count, 8)) + np.eye(8)[0] * side for count, side in ((380, 10), (20, -10)))
    odd = rng.standard_normal((50, 8)) + np.eye(8)[0] * 10 + np.eye(8)[7] * 6
    reference = np.concatenate([usual, rare])
    whole, minor = (
        ReferenceDistribution.fit(reference, support_fraction=0.9, ignored_variance=share) for share in (0.0, 0.75)
    )
    assert [len(each.leading) for each in (whole, minor)] == [0, 1]
    times = [each.squared_distance(rare).mean() / each.squared_distance(usual).mean() for each in (whole, minor)]
    assert times[0] > 5
    assert times[1] < 1.5
    assert minor.squared_distance(odd).mean() > 3 * minor.squared_distance(rare).mean()


def test_components_are_left_out_only_while_they_explain_no_more_than_the_share() -> None:
    features = np.random.default_rng(0).standard_normal((500, 3)) * [10, 1, 1]
    assert len(ReferenceDistribution.fit(features, ignored_variance=0.95).leading) == 0
    assert len(ReferenceDistribution.fit(features, ignored_variance=0.985).leading) == 1
