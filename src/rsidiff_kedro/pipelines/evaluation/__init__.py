"""Evaluation: generate and score images of the test prompts with the round's adapter, and compute its metrics."""

from rsidiff_kedro.pipelines.evaluation.pipeline import BASE, create_pipeline, create_untested
from rsidiff_kedro.pipelines.requirements import features_requirement, scored_images_requirements
from rsidiff_kedro.pipelines.stage import METHOD, Place, Stage

stage = Stage(
    name="evaluation",
    place=Place.EVERY_ROUND,
    create=create_pipeline,
    create_untested=create_untested,
    shared=("test_prompts",),
    from_tested={"tested_adapter": "adapter", "tested_images": "test_images", "tested_scores": "test_scores"},
    from_base={name: f"{METHOD}.round_0.{name.removeprefix('base_')}" for name in BASE},
    requires=lambda parameters: [
        *scored_images_requirements(parameters),
        features_requirement(parameters.evaluation.features, parameters),
    ],
    lower="sampler.micro_batch_size or rewards.micro_batch_size",
    tracked={"test_images": "images", "metrics": "metrics"},
)
