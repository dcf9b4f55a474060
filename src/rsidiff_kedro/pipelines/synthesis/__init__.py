"""Synthesis: choose a round's prompts and generate its images with the adapter of the round before."""

from rsidiff_kedro.pipelines.requirements import dropping_requirements, model_requirement
from rsidiff_kedro.pipelines.stage import Place, Stage
from rsidiff_kedro.pipelines.synthesis.pipeline import create_pipeline

stage = Stage(
    name="synthesis",
    place=Place.TRAINED_ROUNDS,
    create=create_pipeline,
    shared=("prompt_pool", "base_images"),
    from_parent={"parent": "adapter"},
    requires=lambda parameters: [model_requirement(parameters), *dropping_requirements(parameters)],
    lower="synthesis.sampler.micro_batch_size, or set synthesis.early_dropping=null",
    prunable=frozenset({"images"}),
)
