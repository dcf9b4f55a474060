"""The nodes of the gate in one round."""

from kedro.pipeline import Node, Pipeline, node

from rsidiff_kedro.pipelines.common import generate_images, score_images
from rsidiff_kedro.pipelines.gate import nodes
from rsidiff_kedro.pipelines.stage import bind

REWARDS = "params:preference_selection.rewards"


def create_pipeline(round_number: int) -> Pipeline:
    """Validate the candidate and decide; round 0 has no candidate, so its adapter is only validated."""
    if round_number == 0:
        return Pipeline(validate(0, "adapter", "validation_scores"))
    decide = node(
        nodes.pass_gate,
        [
            *("candidate", "parent", "candidate_scores", "parent_scores", REWARDS),
            *("params:gate", "params:evaluation.bootstrap_resamples", "params:seed"),
        ],
        ["adapter", "validation_scores", "gate"],
        name="pass_gate",
    )
    return Pipeline([*validate(round_number, "candidate", "candidate_scores"), decide])


def validate(round_number: int, adapter: str, scores: str) -> list[Node]:
    """Create images of the validation prompts with this adapter, and their scores."""
    return [
        node(
            bind(generate_images, purpose="validation", round_number=round_number),
            [
                *(adapter, "validation_prompts", "params:gate.samples_per_prompt"),
                *("params:model", "params:sampler", "params:seed"),
            ],
            "validation_images",
            name="generate_validation_images",
        ),
        node(
            score_images,
            ["validation_images", "params:evaluation.rewards", REWARDS, "params:evaluation.judge", "params:rewards"],
            scores,
            name="score_validation_images",
        ),
    ]
