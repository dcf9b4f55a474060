"""Prompt curation: collect, filter and split prompts, and choose the pool of training prompts."""

from rsidiff_kedro.pipelines.prompt_curation.pipeline import create_pipeline
from rsidiff_kedro.pipelines.requirements import model_requirement, prompts_requirement, reward_requirements
from rsidiff_kedro.pipelines.stage import Place, Stage

stage = Stage(
    name="prompt_curation",
    place=Place.BEFORE,
    create=create_pipeline,
    requires=lambda parameters: [
        prompts_requirement(parameters),
        model_requirement(parameters),
        *reward_requirements(
            [parameters.prompt_curation.probe.reward] * parameters.prompt_curation.enabled, parameters
        ),
    ],
    lower="prompt_curation.probe.sampler.micro_batch_size or rewards.micro_batch_size",
)
