"""Fine-tuning: train a round's candidate adapter from its parent on weighted images."""

from rsidiff_kedro.pipelines.finetune.pipeline import create_pipeline
from rsidiff_kedro.pipelines.requirements import model_requirement
from rsidiff_kedro.pipelines.stage import Place, Stage

stage = Stage(
    name="finetune",
    place=Place.EVERY_ROUND,
    create=create_pipeline,
    from_parent={"parent": "adapter", "previous_training_set": "training_set"},
    requires=lambda parameters: [model_requirement(parameters)],
    lower="finetune.micro_batch_size, or set finetune.gradient_checkpointing=true",
    tracked={"training_log": "training_log", "training_metrics": "training_metrics"},
    prunable=frozenset({"training_set"}),
)
