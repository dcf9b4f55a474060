"""Settings of prompt curation as a whole."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rsidiff_kedro.diffusion.settings import SamplerSettings
from rsidiff_kedro.prompts.filters import FilterSettings
from rsidiff_kedro.prompts.sources import GrammarSource, PromptSource


class ProbeSettings(BaseModel):
    """The probe: a few images of the base model a prompt, to find those that it can neither draw nor draw better.

    Attributes:
        reward: what scores the images.
        samples_per_prompt: images a prompt.
        sampler: how they are drawn; cheap is enough.
        drop_lowest: the share of prompts with the lowest mean reward to drop as hopeless, in [0, 1).
        drop_highest: the share with the highest to drop as solved, in [0, 1); both together are below 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reward: str = "proxy"
    samples_per_prompt: int = Field(default=2, ge=1)
    sampler: SamplerSettings
    drop_lowest: float = Field(default=0.25, ge=0, lt=1)
    drop_highest: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _leave_some(self) -> Self:
        if self.drop_lowest + self.drop_highest >= 1:
            raise ValueError(
                f"drop_lowest ({self.drop_lowest}) and drop_highest ({self.drop_highest}) leave no prompt; "
                "make their sum less than 1"
            )
        return self

    def dropped(self, n_prompts: int) -> tuple[int, int]:
        """How many of so many prompts the probe drops, at the low and at the high end."""
        return int(n_prompts * self.drop_lowest), int(n_prompts * self.drop_highest)


class CurationSettings(BaseModel):
    """Prompt curation.

    Attributes:
        enabled: off skips the probe and the choice of a diverse subset: the pool is drawn at random.
        source: where prompts come from.
        filters: what a prompt must be.
        probe: see `ProbeSettings`.
        pool_size: prompts that rounds draw theirs from.
        prompts_per_round: prompts a round draws.
        validation_size: prompts the gate compares adapters on.
        test_size: prompts for reporting alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    source: PromptSource
    filters: FilterSettings = FilterSettings()
    probe: ProbeSettings
    pool_size: int = Field(default=200, ge=1)
    prompts_per_round: int = Field(default=100, ge=1)
    validation_size: int = Field(default=60, ge=1)
    test_size: int = Field(default=200, ge=1)

    @model_validator(mode="after")
    def _enough_prompts(self) -> Self:
        if self.prompts_per_round > self.pool_size:
            raise ValueError(
                f"prompts_per_round ({self.prompts_per_round}) is more than pool_size ({self.pool_size}); "
                "lower the one or raise the other"
            )
        if not isinstance(self.source, GrammarSource):
            return self
        held_out = self.validation_size + self.test_size
        if self.source.evaluation_count < held_out:
            raise ValueError(
                f"source.evaluation_count ({self.source.evaluation_count}) is less than validation_size and test_size "
                f"together ({held_out}); raise it"
            )
        left = self.source.count - (sum(self.probe.dropped(self.source.count)) if self.enabled else 0)
        if left < self.pool_size:
            raise ValueError(
                f"source.count ({self.source.count}) leaves {left} prompts for a pool_size of {self.pool_size}; "
                "raise count, or lower pool_size or the shares that the probe drops"
            )
        return self
