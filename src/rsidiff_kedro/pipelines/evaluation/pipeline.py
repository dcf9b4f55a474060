"""The nodes of evaluation in one round."""

from kedro.pipeline import Node, Pipeline, node

from rsidiff_kedro.pipelines.common import generate_images, score_images
from rsidiff_kedro.pipelines.evaluation import nodes
from rsidiff_kedro.pipelines.stage import METHOD, bind

SECTION = "params:evaluation"
REWARDS = "params:preference_selection.rewards"
MEASURED = {
    "images": "test_images",
    "scores": "test_scores",
    "validation_scores": "validation_scores",
    "selection_rewards": REWARDS,
    "settings": SECTION,
    "models": "params:rewards",
    "seed": "params:seed",
}
"""Inputs of `measure`, by the names of its arguments."""
COMPARED = {"base_images": "base_test_images", "base_scores": "base_test_scores"}
"""Further inputs, of any adapter but the base."""
FROM_BASE = {
    "base_test_images": f"{METHOD}.round_0.test_images",
    "base_test_scores": f"{METHOD}.round_0.test_scores",
}


def create_pipeline(round_number: int) -> Pipeline:
    """Create test images, their scores and the round's metrics."""
    more = {} if round_number == 0 else {**COMPARED, "gate": "gate"}
    measure = node(nodes.measure, {**MEASURED, **more}, "metrics", name="measure")
    return Pipeline([*test(round_number), measure])


def test(round_number: int) -> list[Node]:
    """Create images of the test prompts with the round's adapter, and their scores."""
    return [
        node(
            bind(generate_images, purpose="test", round_number=round_number),
            [
                *("adapter", "test_prompts", f"{SECTION}.samples_per_prompt"),
                *("params:model", "params:sampler", "params:seed"),
            ],
            "test_images",
            name="generate_test_images",
        ),
        node(
            score_images,
            ["test_images", f"{SECTION}.rewards", REWARDS, f"{SECTION}.judge", "params:rewards"],
            "test_scores",
            name="score_test_images",
        ),
    ]
