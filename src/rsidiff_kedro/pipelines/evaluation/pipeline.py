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
    steps = _measure_base() if round_number == 0 else [_pass_gate(), _measure()]
    trained = round_number > 0
    return Pipeline(
        [
            node(
                bind(nodes.draw_validation_images, round_number),
                [
                    "candidate" if trained else "adapter",
                    "validation_prompts",
                    f"{SECTION}.validation_samples_per_prompt",
                    *DRAWING,
                ],
                "validation_images",
                name="draw_validation_images",
            ),
            node(
                nodes.score_images,
                ["validation_images", *SCORING],
                "candidate_scores" if trained else "validation_scores",
                name="score_validation_images",
            ),
            node(
                bind(nodes.draw_test_images, round_number),
                ["adapter", "test_prompts", f"{SECTION}.samples_per_prompt", *DRAWING],
                "test_images",
                name="draw_test_images",
            ),
            node(nodes.score_images, ["test_images", *SCORING], "test_scores", name="score_test_images"),
            *steps,
        ],
        tags="evaluation",
    )


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
