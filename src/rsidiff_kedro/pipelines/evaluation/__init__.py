"""Evaluation: generate and score images of the test prompts with the round's adapter, and compute its metrics."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rsidiff_kedro.pipelines.evaluation.pipeline import FROM_BASE, create_pipeline
from rsidiff_kedro.pipelines.requirements import (
    Requirement,
    features_requirement,
    model_requirement,
    reward_requirements,
)
from rsidiff_kedro.pipelines.stage import Place, Stage

if TYPE_CHECKING:
    from rsidiff_kedro.parameters import Parameters


def _requires(parameters: "Parameters") -> Iterator[Requirement]:
    yield model_requirement(parameters)
    yield from reward_requirements(
        [*parameters.preference_selection.rewards, *parameters.evaluation.rewards], parameters
    )
    yield features_requirement(parameters.evaluation.features, parameters)


stage = Stage(
    name="evaluation",
    place=Place.EVERY_ROUND,
    create=create_pipeline,
    shared=("test_prompts",),
    from_base=FROM_BASE,
    requires=_requires,
    lower="sampler.micro_batch_size or rewards.micro_batch_size",
    tracked={"test_images": "images", "metrics": "metrics"},
)
