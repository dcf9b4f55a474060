"""Supervised fine-tuning on real pairs: the baseline for recursive self-improvement."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rsidiff_kedro.pipelines import evaluation, finetune, gate
from rsidiff_kedro.pipelines.requirements import Requirement, pairs_requirement
from rsidiff_kedro.pipelines.sft.pipeline import create_pipeline
from rsidiff_kedro.pipelines.stage import Place, Stage

if TYPE_CHECKING:
    from rsidiff_kedro.parameters import Parameters


def _requires(parameters: "Parameters") -> Iterator[Requirement]:
    yield pairs_requirement(parameters)
    yield from evaluation.stage.requires(parameters)


stage = Stage(
    name="sft",
    place=Place.APART,
    create=create_pipeline,
    namespace="sft.round_1",
    shared=("validation_prompts", "test_prompts"),
    from_base=evaluation.stage.from_base,
    requires=_requires,
    lower="finetune.micro_batch_size or sampler.micro_batch_size, or set finetune.gradient_checkpointing=true",
    tracked={**finetune.stage.tracked, **gate.stage.tracked, **evaluation.stage.tracked},
    final="sft.round_1.metrics",
)
