"""Define the settings of the method's parts, without the libraries that compute them."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from rsidiff_kedro.core.prompt_table import PromptCountError
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.diffusion.settings import SamplerSettings
from rsidiff_kedro.prompts.settings import FilterSettings
from rsidiff_kedro.prompts.sources import PromptSource
from rsidiff_kedro.rewards.protocol import RewardName


class ProbeSettings(Section):
    """The probe: a few images of the base model per prompt.

    Attributes:
        reward: scores the images.
        samples_per_prompt: images per prompt.
        sampler: how they are generated; cheap is enough.
        drop_lowest: the share of prompts with the lowest mean reward to drop as hopeless, in [0, 1).
        drop_highest: the share with the highest to drop as solved, in [0, 1); both together are below 1.
    """

    reward: RewardName
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
        """Return how many of so many prompts the probe drops at the low and at the high end."""
        return int(n_prompts * self.drop_lowest), int(n_prompts * self.drop_highest)


class CurationSettings(Section):
    """Prompt curation.

    Attributes:
        enabled: off skips the probe and the diverse subset: the pool is random.
        source: where prompts come from.
        evaluation_source: where validation and test prompts come from; None for the same source. Training prompts
            that equal one of them, or nearly, are dropped.
        filters: rules that every prompt must pass.
        probe: see `ProbeSettings`.
        diversity: what a diverse subset covers: the prompts' words (TF-IDF), or the model's own text embeddings,
            averaged over tokens.
        pool_size: training prompts, from which rounds take theirs.
        prompts_per_round: prompts of a round.
        validation_size: prompts on which the gate compares adapters.
        test_size: prompts for reporting only.
    """

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
        evaluation, held_out = self.evaluation_source, self.validation_size + self.test_size
        name, separate = ("source", self.source) if evaluation is None else ("evaluation_source", evaluation)
        if separate.expected_evaluation is not None and separate.expected_evaluation < held_out:
            raise ValueError(
                f"{name}.evaluation_count ({separate.expected_evaluation}) is less than validation_size and test_size "
                f"together ({held_out}); raise it"
            )
        count = self.source.expected
        if count is None:
            return self
        if self.source.expected_evaluation is None:
            self.check_counts(count, evaluation.expected if evaluation else None, shared=evaluation is None)
            return self
        left = count - (sum(self.probe.dropped(count)) if self.enabled else 0)
        if left < self.pool_size:
            raise ValueError(
                f"source.count ({count}) leaves {left} prompts for a pool_size of {self.pool_size}; "
                "raise count, or lower pool_size or the shares that the probe drops"
            )
        return self

    def check_counts(self, prompts: int, evaluation_prompts: int | None, shared: bool) -> None:
        """Raise PromptCountError if the sources hold too few prompts, before any is filtered.

        Args:
            prompts: those that can train.
            evaluation_prompts: those that can evaluate; None if the number is unknown.
            shared: the latter are among the former, and train unless they evaluate.
        """
        pool, held_out = f"pool_size ({self.pool_size})", self.validation_size + self.test_size
        evaluation = f"validation_size ({self.validation_size}) and test_size ({self.test_size})"
        training = ("prompts that can train", self.pool_size, pool)
        if shared:
            training = ("prompts", self.pool_size + held_out, f"{pool}, {evaluation}")
        needs = [
            ("source", prompts, *training),
            ("source", evaluation_prompts, "prompts that can evaluate", held_out, evaluation),
        ]
        if self.evaluation_source is not None:
            needs = [
                ("source", prompts, "prompts", self.pool_size, pool),
                ("evaluation_source", evaluation_prompts, "prompts", held_out, evaluation),
            ]
        for name, available, which, needed, sizes in needs:
            if available is not None and available < needed:
                raise PromptCountError(
                    f"{name} holds {available} different {which}, but {sizes} need {needed}; add prompts or lower "
                    "these parameters of prompt_curation"
                )


class EarlyDroppingSettings(Section):
    """Dropping the worse half of each prompt's samples before they are denoised to the end.

    Attributes:
        after: denoising steps after which the samples' images are predicted and scored.
        reward: scores the predicted images.
    """

    after: int = Field(ge=2)
    reward: RewardName


class SynthesisSettings(Section):
    """Settings for generating a round's training images.

    Attributes:
        samples_per_prompt: images per prompt, of which preference selection keeps some.
        sampler: how they are generated.
        early_dropping: None denoises all samples to the end.
    """

    samples_per_prompt: int = Field(ge=1)
    sampler: SamplerSettings
    early_dropping: EarlyDroppingSettings | None = None

    @model_validator(mode="after")
    def _can_drop(self) -> Self:
        given, samples, sampler = self.early_dropping, self.samples_per_prompt, self.sampler
        if given is None:
            return self
        if samples < 2:
            raise ValueError(f"early_dropping halves a prompt's samples, and samples_per_prompt is {samples}; raise it")
        if given.after >= sampler.num_inference_steps:
            raise ValueError(
                f"early_dropping.after ({given.after}) must be less than sampler.num_inference_steps "
                f"({sampler.num_inference_steps})"
            )
        if sampler.micro_batch_size % samples:
            raise ValueError(
                f"early_dropping compares the samples of a prompt, so sampler.micro_batch_size "
                f"({sampler.micro_batch_size}) must be a multiple of samples_per_prompt ({samples})"
            )
        return self


class SelectionSettings(Section):
    """Rules for keeping samples of a prompt.

    Attributes:
        enabled: off keeps `keep_per_prompt` random samples per prompt instead.
        rewards: the weight of each reward in the score; 0 removes a reward that another layer of configuration set.
        combine: how several rewards become one score: the weighted mean of each "standardize"d within the prompt, or
            of each one's "rank" in it (the share of the prompt's other samples that it beats, ties counting half),
            which outliers do not move.
        keep_per_prompt: samples kept per prompt, at most.
        max_gap: how far below its prompt's best score a kept sample may be; None for no limit. The unit is the
            reward's, or for several rewards standard deviations within the prompt or shares of its other samples.
        min_margin: how far above its prompt's mean score a kept sample must be, in the same unit; None for no limit.
        floors: the least value of a reward that a kept sample may have, in the reward's unit.
    """

    enabled: bool = True
    rewards: dict[RewardName, float]
    combine: Literal["standardize", "rank"] = "standardize"
    keep_per_prompt: int = Field(default=1, ge=1)
    max_gap: float | None = Field(default=None, ge=0)
    min_margin: float | None = None
    floors: dict[RewardName, float] = Field(default={})

    @field_validator("rewards")
    @classmethod
    def _without_zeros(cls, rewards: dict[str, float]) -> dict[str, float]:
        weighted = {name: weight for name, weight in rewards.items() if weight > 0}
        if any(weight < 0 for weight in rewards.values()) or not weighted:
            raise ValueError(f"weights must be 0 or more, and at least one above 0, but they are {rewards}")
        return weighted


class WeightingSettings(Section):
    """Settings for weighting samples by their distance to the reference distribution.

    Attributes:
        enabled: off gives every sample the weight one.
        features: the embedding, a name of the features registry.
        condition_on_prompts: subtract from the features what the images' prompts explain, by their words or by the text
            encoder's embedding of them; None subtracts nothing.
        reference: "round" for all images of the round, "base" for the base model's, "both" for all of them.
        ignored_variance: leave out the leading principal components of the reference that together explain at most
            this share of its variance, in [0, 1); 0 leaves none out.
        support_fraction: the share of the reference, nearest first, that the Gaussian is fitted to again, in (0, 1].
        shrinkage: of the covariance towards a multiple of the identity, in [0, 1]; None for Ledoit and Wolf's.
        quantile: of the support's own d²; samples up to it keep their full weight.
        temperature: in standard deviations of the support's d²: at 1, a sample two of them past the quantile
            weighs exp(-1) of a typical one. Higher is milder.
        min_weight: the least weight.
        max_weight: the greatest weight.
    """

    enabled: bool = True
    features: RewardName
    condition_on_prompts: Literal["words", "text_encoder"] | None = None
    reference: Literal["round", "base", "both"] = "both"
    ignored_variance: float = Field(default=0.0, ge=0, lt=1)
    support_fraction: float = Field(default=0.7, gt=0, le=1)
    shrinkage: float | None = Field(default=None, ge=0, le=1)
    quantile: float = Field(default=0.75, ge=0, le=1)
    temperature: float = Field(default=0.5, gt=0)
    min_weight: float = Field(default=0.0, ge=0, le=1)
    max_weight: float = Field(default=5.0, ge=1)


class ReplaySettings(Section):
    """Choice of the earlier rounds to train on again.

    Attributes:
        rounds: earlier rounds whose kept images are replayed; 0 trains only on this round's.
        base: replay round 1's kept images, which the base model generated, in every round.
    """

    rounds: int = Field(default=5, ge=0, le=100)
    base: bool = False


class GateSettings(Section):
    """Conditions under which a round's candidate becomes its adapter.

    Attributes:
        enabled: off accepts every candidate.
        tolerance: how much mean selection reward a candidate may lose to its parent, in the reward's unit, or in
            standard deviations if several rewards select.
        samples_per_prompt: images per validation prompt.
    """

    enabled: bool = True
    tolerance: float = Field(default=0.0, ge=0)
    samples_per_prompt: int = Field(default=2, ge=1)
