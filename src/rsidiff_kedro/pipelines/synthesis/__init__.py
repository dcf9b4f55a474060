"""Synthesis: choose a round's prompts and generate its images with the adapter of the round before."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rsidiff_kedro.pipelines.requirements import Requirement, model_requirement
from rsidiff_kedro.pipelines.stage import Place, Stage
from rsidiff_kedro.pipelines.synthesis.pipeline import create_pipeline

if TYPE_CHECKING:
    from rsidiff_kedro.parameters import Parameters


def _requires(parameters: "Parameters") -> Iterator[Requirement]:
    yield model_requirement(parameters)


stage = Stage(
    name="synthesis",
    place=Place.TRAINED_ROUNDS,
    create=create_pipeline,
    shared=("prompt_pool", "base_images"),
    from_parent={"parent": "adapter"},
    requires=_requires,
    lower="synthesis.sampler.micro_batch_size",
    prunable=frozenset({"images"}),
)
