"""Weighting: down-weight kept images that lie far from the reference distribution."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rsidiff_kedro.pipelines.requirements import Requirement, features_requirement
from rsidiff_kedro.pipelines.stage import Place, Stage
from rsidiff_kedro.pipelines.weighting.pipeline import create_pipeline

if TYPE_CHECKING:
    from rsidiff_kedro.parameters import Parameters


def _requires(parameters: "Parameters") -> Iterator[Requirement]:
    yield features_requirement(parameters.weighting.features, parameters)


stage = Stage(
    name="weighting",
    place=Place.TRAINED_ROUNDS,
    create=create_pipeline,
    shared=("base_images",),
    requires=_requires,
    lower="rewards.micro_batch_size",
)
