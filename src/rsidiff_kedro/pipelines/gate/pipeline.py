"""Connect the nodes of the gate for one round."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.pipelines.common import REWARDS, generate_and_score
from rsidiff_kedro.pipelines.gate import nodes


def create_pipeline(round_number: int) -> Pipeline:
    """Validate the candidate and decide; round 0 has no candidate, so its adapter is only validated."""
    if round_number == 0:
        return Pipeline(generate_and_score("validation", "adapter", "gate", "validation_scores"))
    scores, settings = ["candidate_scores", "parent_scores"], ["params:gate", "params:evaluation.bootstrap_resamples"]
    decide = node(
        nodes.pass_gate,
        ["candidate", "parent", *scores, REWARDS, *settings, "params:seed"],
        ["adapter", "validation_scores", "gate"],
        name="pass_gate",
    )
    return Pipeline([*generate_and_score("validation", "candidate", "gate", "candidate_scores"), decide])
