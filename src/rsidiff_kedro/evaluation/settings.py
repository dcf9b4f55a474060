"""Define the settings of evaluation."""

from typing import Annotated

from pydantic import Field

from rsidiff_kedro.core.locations import NoResult
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.rewards.protocol import RewardName

ENDS = ("", "_low", "_high", "_gain", "_gain_low", "_gain_high")
"""What follows a measure's name in a metric or a column: nothing for its mean, then interval and gain over the base."""


class EvaluationSettings(Section):
    """Settings for measuring each round's adapter on the test prompts.

    Attributes:
        rewards: reported beside those that select.
        judge: a registered name such as "scenes", `package.module:Class` of your own, or None.
        features: the embedding for the distance to the base and, without a judge, for diversity.
        samples_per_prompt: images per test prompt; diversity needs 2.
        test_every: test the base, every so many rounds, and the last; no step's result depends on it.
    """

    rewards: tuple[RewardName, ...] = ()
    judge: str | None = None
    features: RewardName
    samples_per_prompt: int = Field(default=2, ge=1)
    test_every: Annotated[int, NoResult()] = Field(default=1, ge=1)
    bootstrap_resamples: int = Field(default=1000, ge=10, le=100_000)


def rounds_to_test(rounds: int, test_every: int) -> list[int]:
    """List the rounds that are tested: the base (0), every so many, and the last."""
    return sorted({*range(0, rounds + 1, test_every), rounds})
