"""Preference selection: score a round's images and keep those near their prompt's best."""

from rsidiff_kedro.pipelines.preference_selection.pipeline import create_pipeline
from rsidiff_kedro.pipelines.requirements import reward_requirements
from rsidiff_kedro.pipelines.stage import Place, Stage

stage = Stage(
    name="preference_selection",
    place=Place.TRAINED_ROUNDS,
    create=create_pipeline,
    requires=lambda parameters: reward_requirements(
        [*parameters.preference_selection.rewards, *parameters.preference_selection.floors], parameters
    ),
    lower="rewards.micro_batch_size",
)
