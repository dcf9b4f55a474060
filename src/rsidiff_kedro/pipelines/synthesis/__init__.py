"""Synthesis: choose a round's prompts and generate its images with the adapter of the round before."""

from typing import TYPE_CHECKING

from rsidiff_kedro.pipelines.requirements import Requirement, model_requirement, reward_requirements
from rsidiff_kedro.pipelines.stage import Place, Stage
from rsidiff_kedro.pipelines.synthesis.pipeline import create_pipeline

if TYPE_CHECKING:
    from rsidiff_kedro.parameters import Parameters


def _requirements(parameters: "Parameters") -> list[Requirement]:
    given = parameters.synthesis.early_dropping
    return [model_requirement(parameters), *reward_requirements([given.reward] if given else [], parameters)]


stage = Stage(
    name="synthesis",
    place=Place.TRAINED_ROUNDS,
    create=create_pipeline,
    shared=("prompt_pool", "base_images"),
    from_parent={"parent": "adapter"},
    requires=_requirements,
    lower="synthesis.sampler.micro_batch_size",
    prunable=frozenset({"images"}),
)
