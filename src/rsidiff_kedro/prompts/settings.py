"""Settings of prompt curation as a whole."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rsidiff_kedro.diffusion.settings import SamplerSettings
from rsidiff_kedro.prompts.filters import FilterSettings
from rsidiff_kedro.prompts.sources import GrammarSource, PromptSource
from rsidiff_kedro.prompts.table import PromptCountError


class ProbeSettings(BaseModel):
    """The probe: a few images of the base model a prompt, to find those that it can neither draw nor draw better.

    Attributes:
        reward: what scores the images.
        samples_per_prompt: images a prompt.
        sampler: how they are drawn; cheap is enough.
        drop_lowest: the share of prompts with the lowest mean reward to drop as hopeless, in [0, 1).
        drop_highest: the share with the highest to drop as solved, in [0, 1); both together are below 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

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
        evaluation_source: where those for validation and test come from; None for the same source. Training prompts
            that equal one of them, or nearly, are dropped.
        filters: what a prompt must be.
        probe: see `ProbeSettings`.
        diversity: what a diverse subset covers: the prompts' words (TF-IDF), or the mean over tokens of what the
            model's own text encoder makes of them.
        pool_size: prompts that rounds draw theirs from.
        prompts_per_round: prompts a round draws.
        validation_size: prompts the gate compares adapters on.
        test_size: prompts for reporting alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    enabled: bool = True
    source: PromptSource
    evaluation_source: PromptSource | None = None
    filters: FilterSettings = FilterSettings()
    probe: ProbeSettings
    diversity: Literal["words", "text_encoder"] = "words"
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
        evaluation = self.evaluation_source
        held_out = self.validation_size + self.test_size
        grammar = self.source if evaluation is None else evaluation
        if isinstance(grammar, GrammarSource) and grammar.evaluation_count < held_out:
            raise ValueError(
                f"{'source' if evaluation is None else 'evaluation_source'}.evaluation_count "
                f"({grammar.evaluation_count}) is less than validation_size and test_size together ({held_out}); "
                "raise it"
            )
        if isinstance(self.source, GrammarSource):
            left = self.source.count - (sum(self.probe.dropped(self.source.count)) if self.enabled else 0)
            if left < self.pool_size:
                raise ValueError(
                    f"source.count ({self.source.count}) leaves {left} prompts for a pool_size of {self.pool_size}; "
                    "raise count, or lower pool_size or the shares that the probe drops"
                )
        elif self.source.expected is not None:
            self.check_counts(self.source.expected, evaluation.expected if evaluation else None)
        return self

    def check_counts(self, prompts: int, evaluation_prompts: int | None) -> None:
        """Whether so many prompts suffice, before any is filtered.

        Args:
            prompts: of `source`.
            evaluation_prompts: of `evaluation_source`; None if there is none, or if the number is not known.

        Raises:
            PromptCountError: they do not; the message has the sizes.
        """
        held_out = self.validation_size + self.test_size
        sizes = f"validation_size ({self.validation_size}) and test_size ({self.test_size})"
        if self.evaluation_source is None:
            parts = [("source", prompts, self.pool_size + held_out, f"pool_size ({self.pool_size}), {sizes}")]
        else:
            parts = [("source", prompts, self.pool_size, f"pool_size ({self.pool_size})")]
            if evaluation_prompts is not None:
                parts.append(("evaluation_source", evaluation_prompts, held_out, sizes))
        for name, there, needed, why in parts:
            if there < needed:
                raise PromptCountError(
                    f"{name} holds {there} different prompts, but {why} need {needed}; add prompts or lower these "
                    "parameters of prompt_curation"
                )
