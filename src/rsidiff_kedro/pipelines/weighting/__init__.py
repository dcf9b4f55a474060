"""Weighting: down-weight kept images that lie far from the reference distribution."""

from rsidiff_kedro.pipelines.requirements import features_requirement
from rsidiff_kedro.pipelines.stage import Place, Stage
from rsidiff_kedro.pipelines.weighting.pipeline import create_pipeline

stage = Stage(
    name="weighting",
    place=Place.TRAINED_ROUNDS,
    create=create_pipeline,
    shared=("base_images",),
    requires=lambda parameters: [features_requirement(parameters.weighting.features, parameters)],
    lower="rewards.micro_batch_size",
)
