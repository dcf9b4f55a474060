"""Connect the nodes of evaluation for one round."""

from kedro.pipeline import Node, Pipeline, node

from rsidiff_kedro.pipelines.common import REWARDS, generate_and_score
from rsidiff_kedro.pipelines.evaluation import nodes

BASE = ["base_test_images", "base_test_scores"]


def create_pipeline(round_number: int) -> Pipeline:
    """Create test images, their scores and the round's metrics."""
    return Pipeline(test([] if round_number == 0 else [*BASE, "gate"]))


def test(compared: list[str]) -> list[Node]:
    """Create test images of the round's adapter, their scores and metrics; `measure` also reads `compared`."""
    scores, settings = ["test_scores", "validation_scores"], ["params:evaluation", "params:rewards", "params:seed"]
    inputs = ["test_images", *scores, REWARDS, *settings, *compared]
    tested = generate_and_score("test", "adapter", "evaluation", "test_scores")
    return [*tested, node(nodes.measure, inputs, "metrics", name="measure")]
