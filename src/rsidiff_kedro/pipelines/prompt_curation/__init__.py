"""Prompt curation: collect, filter and split prompts, and choose the pool of training prompts."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rsidiff_kedro.pipelines.prompt_curation.pipeline import create_pipeline
from rsidiff_kedro.pipelines.requirements import (
    Requirement,
    model_requirement,
    prompts_requirement,
    reward_requirements,
)
from rsidiff_kedro.pipelines.stage import Place, Stage

if TYPE_CHECKING:
    from rsidiff_kedro.parameters import Parameters


def _requires(parameters: "Parameters") -> Iterator[Requirement]:
    yield prompts_requirement(parameters)
    yield model_requirement(parameters)
    if parameters.prompt_curation.enabled:
        yield from reward_requirements([parameters.prompt_curation.probe.reward], parameters)


stage = Stage(
    name="prompt_curation",
    place=Place.BEFORE,
    create=create_pipeline,
    requires=_requires,
    lower="prompt_curation.probe.sampler.micro_batch_size or rewards.micro_batch_size",
)
