"""The nodes of fine-tuning in one round."""

from kedro.pipeline import Node, Pipeline, node

from rsidiff_kedro.method.replay import weighted_images
from rsidiff_kedro.pipelines.finetune import nodes
from rsidiff_kedro.pipelines.stage import bind


def create_pipeline(round_number: int) -> Pipeline:
    """Create the adapter to start from (round 0), or the training set and the candidate."""
    if round_number == 0:
        inputs = ["params:model", "params:finetune.rank", "params:finetune.layers", "params:seed"]
        return Pipeline([node(nodes.start_adapter, inputs, "adapter", name="start_adapter")])
    train = node(
        bind(nodes.finetune, round_number=round_number),
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
    return Pipeline([_build_training_set(round_number), train, measure])


def _build_training_set(round_number: int) -> Node:
    """Round 1 has no earlier round to replay."""
    function = weighted_images if round_number == 1 else nodes.build_training_set
    earlier = [] if round_number == 1 else ["previous_training_set", "params:replay"]
    return node(
        bind(function, round_number=round_number),
        ["images", "weights", *earlier],
        "training_set",
        name="build_training_set",
    )
