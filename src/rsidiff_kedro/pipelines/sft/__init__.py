"""Supervised fine-tuning on real pairs: the baseline for recursive self-improvement."""

from rsidiff_kedro.pipelines import evaluation, finetune, gate
from rsidiff_kedro.pipelines.requirements import pairs_requirement
from rsidiff_kedro.pipelines.sft.pipeline import create_pipeline
from rsidiff_kedro.pipelines.stage import Place, Stage

stage = Stage(
    name="sft",
    place=Place.APART,
    create=create_pipeline,
    namespace="sft.round_1",
    shared=("validation_prompts", "test_prompts"),
    from_base=evaluation.stage.from_base,
    requires=lambda parameters: [pairs_requirement(parameters), *evaluation.stage.requires(parameters)],
    lower="finetune.micro_batch_size or sampler.micro_batch_size, or set finetune.gradient_checkpointing=true",
    tracked={**finetune.stage.tracked, **gate.stage.tracked, **evaluation.stage.tracked},
    final="sft.round_1.metrics",
)
