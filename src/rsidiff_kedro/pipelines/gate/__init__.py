"""Gate: generate and score images of the validation prompts, and decide whether the candidate is used."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rsidiff_kedro.pipelines.gate.pipeline import create_pipeline
from rsidiff_kedro.pipelines.requirements import Requirement, model_requirement, reward_requirements
from rsidiff_kedro.pipelines.stage import Place, Stage

if TYPE_CHECKING:
    from rsidiff_kedro.parameters import Parameters


def _requires(parameters: "Parameters") -> Iterator[Requirement]:
    yield model_requirement(parameters)
    yield from reward_requirements(
        [*parameters.preference_selection.rewards, *parameters.evaluation.rewards], parameters
    )


stage = Stage(
    name="gate",
    place=Place.EVERY_ROUND,
    create=create_pipeline,
    shared=("validation_prompts",),
    from_parent={"parent": "adapter", "parent_scores": "validation_scores"},
    requires=_requires,
    lower="sampler.micro_batch_size or rewards.micro_batch_size",
    tracked={"adapter": "adapter"},
    prunable=frozenset({"validation_images"}),
)
