"""Preference selection: score a round's images and keep the best of each prompt."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rsidiff_kedro.pipelines.preference_selection.pipeline import create_pipeline
from rsidiff_kedro.pipelines.requirements import Requirement, reward_requirements
from rsidiff_kedro.pipelines.stage import Place, Stage

if TYPE_CHECKING:
    from rsidiff_kedro.parameters import Parameters


def _requires(parameters: "Parameters") -> Iterator[Requirement]:
    selection = parameters.preference_selection
    yield from reward_requirements([*selection.rewards, *selection.floors], parameters)


stage = Stage(
    name="preference_selection",
    place=Place.TRAINED_ROUNDS,
    create=create_pipeline,
    requires=_requires,
    lower="rewards.micro_batch_size",
)
