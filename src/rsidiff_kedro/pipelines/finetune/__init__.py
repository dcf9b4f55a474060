"""Fine-tuning: train a round's candidate adapter from its parent on weighted images."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rsidiff_kedro.pipelines.finetune.pipeline import create_pipeline
from rsidiff_kedro.pipelines.requirements import Requirement, model_requirement
from rsidiff_kedro.pipelines.stage import Place, Stage

if TYPE_CHECKING:
    from rsidiff_kedro.parameters import Parameters


def _requires(parameters: "Parameters") -> Iterator[Requirement]:
    yield model_requirement(parameters)


stage = Stage(
    name="finetune",
    place=Place.EVERY_ROUND,
    create=create_pipeline,
    from_parent={"parent": "adapter", "previous_training_set": "training_set"},
    requires=_requires,
    lower="finetune.micro_batch_size, or set finetune.gradient_checkpointing=true",
    tracked={"training_log": "training_log", "training_metrics": "training_metrics"},
    prunable=frozenset({"training_set"}),
)
