"""Steps of several pipelines are found together."""

import pytest
from kedro.pipeline import Pipeline, node

from rsidiff_kedro.hooks.earlier import makers


def pipeline(*steps: str) -> Pipeline:
    """Return a pipeline of steps such as `train: images weights > adapter`."""
    parts = [[part.split() for part in step.replace(":", ">").split(">")] for step in steps]
    return Pipeline([node(print, inputs, outputs, name=name) for (name,), inputs, outputs in parts])


WHOLE = pipeline("draw: prompts > images", "score: images > scores", "train: images scores > adapter")


@pytest.mark.parametrize(
    ("wanted", "others", "found"),
    [
        ("adapter", [], "draw score train"),
        ("scores nobodys", [], "draw score"),
        ("nobodys", [], ""),
        ("metrics", [pipeline("test: images adapter > metrics")], "draw score test train"),
        ("metrics", [pipeline("test: images adapter > metrics"), WHOLE], "draw score test train"),
        ("images pairs", [pipeline("pair: photos > pairs"), pipeline("take: films > photos")], "draw pair take"),
        ("adapter", [pipeline("paint: prompts > images")], "draw score train"),  # they have one output
        ("images metrics", [pipeline("paint: prompts > images", "test: images > metrics")], "paint test"),
        ("scores metrics", [pipeline("draw: photos > metrics")], "draw score"),  # they have one name
        ("scores adapter", [pipeline("write: adapter > prompts")], "draw score train"),  # prompts of prompts
        ("prompts", [pipeline("write: adapter > prompts")], "write"),
    ],
)
def test_steps_are_found_in_all_pipelines(wanted: str, others: list[Pipeline], found: str) -> None:
    assert sorted(each.name for each in makers({*wanted.split()}, [WHOLE, *others]).nodes) == found.split()
