"""Wiring of fine-tuning in one round."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.pipelines.finetune import nodes
from rsidiff_kedro.pipelines.rounds import bind


def create_pipeline(round_number: int) -> Pipeline:
    """Round 0: the adapter to start from. Later rounds: the training set and the candidate."""
    if round_number == 0:
        start = node(
            nodes.start_adapter,
            ["params:model", "params:finetune.rank", "params:finetune.layers", "params:seed"],
            "adapter",
            name="start_adapter",
        )
        return Pipeline([start], tags="finetune")
    build = (
        node(
            bind(nodes.build_first_training_set, round_number),
            ["images", "weights"],
            "training_set",
            name="build_training_set",
        )
        if round_number == 1
        else node(
            bind(nodes.build_training_set, round_number),
            [
                "images",
                "weights",
                "previous_training_set",
                "params:finetune.replay_rounds",
                "params:finetune.replay_base",
            ],
            "training_set",
            name="build_training_set",
        )
    )
    train = node(
        bind(nodes.finetune, round_number),
        ["training_set", "parent", "params:model", "params:finetune", "params:seed"],
        ["candidate", "training_log"],
        name="finetune",
    )
    measure = node(
        nodes.measure_training,
        ["selection", "weights", "training_set", "training_log"],
        "training_metrics",
        name="measure_training",
    )
    return Pipeline([build, train, measure], tags="finetune")
