"""Connect the nodes of fine-tuning for one round."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.diffusion.settings import LoraSettings
from rsidiff_kedro.method.replay import weighted_images
from rsidiff_kedro.pipelines.finetune import nodes
from rsidiff_kedro.pipelines.stage import TRAINS, bind


def create_pipeline(round_number: int) -> Pipeline:
    """Create the adapter to start from (round 0), or the training set and the candidate."""
    if round_number == 0:
        lora = {name: f"params:finetune.{name}" for name in LoraSettings.model_fields}
        inputs = {"model": "params:model", "seed": "params:seed", **lora}
        return Pipeline([node(nodes.start_adapter, inputs, "adapter", name="start_adapter")])
    build = weighted_images if round_number == 1 else nodes.build_training_set
    replayed = [] if round_number == 1 else ["previous_training_set", "params:replay"]
    trained = ["training_set", "parent", "params:model", "params:finetune", "params:seed"]
    measured = ["selection", "weights", "training_set", "training_log"]
    return Pipeline(
        [
            node(
                bind(build, round_number=round_number),
                ["images", "weights", *replayed],
                "training_set",
                name="build_training_set",
            ),
            node(
                bind(nodes.finetune, round_number=round_number),
                trained,
                ["candidate", "training_log"],
                name="finetune",
                tags=TRAINS,
            ),
            node(nodes.measure_training, measured, "training_metrics", name="measure_training"),
        ]
    )
