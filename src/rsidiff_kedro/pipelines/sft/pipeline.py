"""The nodes of supervised fine-tuning: one long round, measured as the rounds of rsi are."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.pipelines.evaluation.nodes import measure
from rsidiff_kedro.pipelines.evaluation.pipeline import COMPARED, MEASURED, test
from rsidiff_kedro.pipelines.gate.pipeline import validate
from rsidiff_kedro.pipelines.sft import nodes


def create_pipeline() -> Pipeline:
    """Train on real pairs and compare with the base model's results, which `rsi` must have made before."""
    train = [
        node(
            nodes.build_training_set,
            ["params:sft", "params:model", "params:sampler"],
            "training_set",
            name="build_training_set",
        ),
        node(
            nodes.finetune,
            ["training_set", "params:model", "params:finetune", "params:sft", "params:seed"],
            ["adapter", "training_log"],
            name="finetune",
        ),
    ]
    compare = node(measure, {**MEASURED, **COMPARED}, "metrics", name="measure")
    return Pipeline([*train, *validate(1, "adapter", "validation_scores"), *test(1), compare])
