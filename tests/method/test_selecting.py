"""Which rewards select training images, and which are held out."""

from typing import Any

import pytest

from rsidiff_kedro.hooks.configuration import open_configuration
from rsidiff_kedro.method.selecting import selecting_of, selecting_rewards, selecting_weights
from rsidiff_kedro.method.settings import EarlyDroppingSettings, SelectionSettings
from rsidiff_kedro.parameters import parse_parameters

SELECTION = {"rewards": {"proxy": 1.0, "other": 0.5}, "floors": {"clip": 0.3, "proxy": 0.1}}
SCORE = {"proxy": "with weight 1 and by a floor", "other": "with weight 0.5", "clip": "by a floor"}
DROPPING = {"after": 2, "reward": "proxy"}
ALONE = {"proxy": "by early dropping"}


@pytest.mark.parametrize(
    ("changes", "dropping", "selecting"),
    [
        ({}, None, SCORE),
        ({"enabled": False}, None, {}),
        ({}, DROPPING, SCORE | {"proxy": "with weight 1 and by a floor and by early dropping"}),
        ({"rewards": {"votes": 1.0}, "floors": {}}, DROPPING, {"votes": "with weight 1"} | ALONE),
        ({"enabled": False}, DROPPING, ALONE),
    ],
)
def test_rewards_select_by_weights_floors_and_early_dropping_where_these_are_on(
    changes: dict[str, Any], dropping: dict[str, Any] | None, selecting: dict[str, str]
) -> None:
    tree = {"preference_selection": SELECTION | changes, "synthesis": {"early_dropping": dropping}}
    assert selecting_of(tree) == selecting
    settings = SelectionSettings.model_validate(tree["preference_selection"])
    assert selecting_of(tree | {"preference_selection": settings}) == selecting
    early = dropping and EarlyDroppingSettings.model_validate(dropping)
    assert selecting_rewards(settings.enabled, settings.rewards, settings.floors, early) == selecting


def test_what_is_not_set_selects_nothing() -> None:
    assert selecting_of({}) == {}


@pytest.mark.parametrize(
    ("enabled", "dropping", "weights"),
    [
        (True, None, SELECTION["rewards"]),
        (True, DROPPING, SELECTION["rewards"]),
        (False, DROPPING, {"proxy": 1.0}),
        (False, None, {}),
    ],
)
def test_what_selects_gains_by_the_score_or_where_selection_is_off_by_early_dropping(
    enabled: bool, dropping: dict[str, Any] | None, weights: dict[str, float]
) -> None:
    early = dropping and EarlyDroppingSettings.model_validate(dropping)
    assert selecting_weights(enabled, SELECTION["rewards"], early) == weights


def test_a_run_knows_what_selects(project) -> None:
    changes = {"preference_selection": {"rewards": {"gone": 0.0}, "floors": {"oracle": 0.5}}}
    given = parse_parameters(open_configuration("test", changes)[1]["parameters"])
    assert given.selecting == {"proxy": "with weight 1", "oracle": "by a floor"}
