"""Connect the nodes of supervised fine-tuning: one long round, measured like the rounds of rsi."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.pipelines.common import generate_and_score
from rsidiff_kedro.pipelines.evaluation.pipeline import BASE, test
from rsidiff_kedro.pipelines.sft import nodes
from rsidiff_kedro.pipelines.stage import TRAINS


def create_pipeline() -> Pipeline:
    """Train on real pairs and compare with the base model's results, which `rsi` must have made before."""
    built = ["params:sft", "params:model", "params:sampler"]
    trained = ["training_set", "params:model", "params:finetune", "params:sft", "params:seed"]
    return Pipeline(
        [
            node(nodes.build_training_set, built, "training_set", name="build_training_set"),
            node(nodes.finetune, trained, ["adapter", "training_log"], name="finetune", tags=TRAINS),
            *generate_and_score("validation", "adapter", "gate", "validation_scores"),
            *test(BASE),
        ]
    )
