"""Wiring of evaluation in one round."""

from kedro.pipeline import Node, Pipeline, node

from rsidiff_kedro.pipelines.evaluation import nodes
from rsidiff_kedro.pipelines.rounds import bind

SECTION = "params:evaluation"
REWARDS = "params:preference_selection.rewards"
DRAWING = ["params:model", "params:sampler", "params:seed"]
SCORING = [f"{SECTION}.rewards", REWARDS, f"{SECTION}.judge", "params:rewards"]


def create_pipeline(round_number: int) -> Pipeline:
    """Validation and gate, test images and metrics; round 0 has no candidate and no gate."""
    if round_number == 0:
        return Pipeline([*draw_and_score(0, "adapter", "validation_scores"), *_measure_base()], tags="evaluation")
    steps = [*draw_and_score(round_number, "candidate", "candidate_scores"), _pass_gate(), _measure()]
    return Pipeline(steps, tags="evaluation")


def draw_and_score(round_number: int, validated: str, validation_scores: str) -> list[Node]:
    """Images of the validation prompts with the adapter `validated`, of the test prompts with `adapter`, and scores."""
    return [
        node(
            bind(nodes.draw_validation_images, round_number),
            [validated, "validation_prompts", f"{SECTION}.validation_samples_per_prompt", *DRAWING],
            "validation_images",
            name="draw_validation_images",
        ),
        node(nodes.score_images, ["validation_images", *SCORING], validation_scores, name="score_validation_images"),
        node(
            bind(nodes.draw_test_images, round_number),
            ["adapter", "test_prompts", f"{SECTION}.samples_per_prompt", *DRAWING],
            "test_images",
            name="draw_test_images",
        ),
        node(nodes.score_images, ["test_images", *SCORING], "test_scores", name="score_test_images"),
    ]


def _pass_gate() -> Node:
    inputs = ["candidate", "parent", "candidate_scores", "parent_scores", REWARDS]
    return node(
        nodes.pass_gate,
        [*inputs, f"{SECTION}.gate", f"{SECTION}.bootstrap_resamples", "params:seed"],
        ["adapter", "validation_scores", "gate"],
        name="pass_gate",
    )


def _measure() -> Node:
    inputs = ["test_images", "test_scores", "base_test_images", "base_test_scores", "validation_scores", "gate"]
    return node(nodes.measure, [*inputs, REWARDS, SECTION, "params:rewards", "params:seed"], "metrics", name="measure")


def _measure_base() -> list[Node]:
    inputs = ["test_images", "test_scores", "validation_scores"]
    return [
        node(
            nodes.measure_base, [*inputs, REWARDS, SECTION, "params:rewards", "params:seed"], "metrics", name="measure"
        )
    ]
