"""Connect the nodes of evaluation for one round."""

from kedro.pipeline import Node, Pipeline, node

from rsidiff_kedro.pipelines.common import REWARDS, SELECTING, generate_and_score
from rsidiff_kedro.pipelines.evaluation import nodes

BASE = ["base_test_images", "base_test_scores"]


def create_pipeline(round_number: int) -> Pipeline:
    """Create test images, their scores and the round's metrics; the images of the last test serve the same adapter."""
    if round_number == 0:
        return Pipeline(test([]))
    generate, score, measured = test([*BASE, "gate"])
    kept = ["adapter", "tested_adapter"]
    generated, scored = [*kept, "tested_images", *generate.inputs[1:]], [*kept, "tested_scores", *score.inputs]
    return Pipeline(
        [
            node(nodes.generate_images_unless_kept, generated, "test_images", name=generate.name),
            node(nodes.score_images_unless_kept, scored, "test_scores", name=score.name),
            measured,
        ]
    )


def create_untested(round_number: int) -> Pipeline:
    """Create the metrics of a round whose adapter is not tested."""
    inputs = ["validation_scores", REWARDS, "params:evaluation", "params:seed", "gate"]
    return Pipeline([node(nodes.measure_validation, inputs, "metrics", name="measure")])


def test(compared: list[str]) -> list[Node]:
    """Create test images of the round's adapter, their scores and metrics; `measure` also reads `compared`."""
    scores, settings = ["test_scores", "validation_scores"], ["params:evaluation", "params:rewards", "params:seed"]
    inputs = ["test_images", *scores, *SELECTING, *settings, *compared]
    tested = generate_and_score("test", "adapter", "evaluation", "test_scores")
    return [*tested, node(nodes.measure, inputs, "metrics", name="measure")]
