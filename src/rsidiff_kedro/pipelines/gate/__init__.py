"""Gate: generate and score images of the validation prompts, and decide whether the candidate is used."""

from rsidiff_kedro.pipelines.gate.pipeline import create_pipeline
from rsidiff_kedro.pipelines.requirements import scored_images_requirements
from rsidiff_kedro.pipelines.stage import Place, Stage

stage = Stage(
    name="gate",
    place=Place.EVERY_ROUND,
    create=create_pipeline,
    shared=("validation_prompts",),
    from_parent={"parent": "adapter", "parent_scores": "validation_scores"},
    requires=scored_images_requirements,
    lower="sampler.micro_batch_size or rewards.micro_batch_size",
    tracked={"adapter": "adapter"},
    prunable=frozenset({"validation_images"}),
)
