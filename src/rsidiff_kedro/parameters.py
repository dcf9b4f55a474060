"""All parameters as one tree of settings; each section is defined next to the code that reads it."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, create_model, model_validator

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.locations import located
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.core.untrusted.text import holds_credential
from rsidiff_kedro.core.validation import explain
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings, SamplerSettings, SftSettings
from rsidiff_kedro.evaluation.settings import ENDS, EvaluationSettings
from rsidiff_kedro.execution.engine import ExecutionSettings
from rsidiff_kedro.method.selecting import selecting_of
from rsidiff_kedro.method.settings import (
    CurationSettings,
    GateSettings,
    ReplaySettings,
    SelectionSettings,
    SynthesisSettings,
    WeightingSettings,
)
from rsidiff_kedro.pipelines import stages
from rsidiff_kedro.provenance.retention import KeepSettings
from rsidiff_kedro.rewards.settings import RewardsSettings

MAX_ROUNDS = 100


class ParameterError(InputError):
    """Parameters that the project cannot run with; the message says in one line what to change."""


class Parameters(Section):
    """All parameters of `conf/`; stages may add sections (`Stage.settings`), and any other name is refused."""

    rounds: int = Field(strict=True, ge=1, le=MAX_ROUNDS)
    seed: int = Field(strict=True, ge=0, lt=2**32)
    model: ModelSettings
    sampler: SamplerSettings
    rewards: RewardsSettings
    prompt_curation: CurationSettings
    synthesis: SynthesisSettings
    preference_selection: SelectionSettings
    weighting: WeightingSettings
    finetune: FinetuneSettings
    replay: ReplaySettings
    gate: GateSettings
    evaluation: EvaluationSettings
    sft: SftSettings
    keep: KeepSettings
    execution: ExecutionSettings = ExecutionSettings()

    @model_validator(mode="after")
    def _reports_tell_rewards_apart(self) -> Self:
        reported = {*self.evaluation.rewards, *self.preference_selection.rewards}
        for name in sorted(reported):
            other = next((f"{name}{end}" for end in ENDS[1:] if f"{name}{end}" in reported), None)
            if other is not None:
                raise ValueError(
                    f"the reward {other!r} has the name under which results of the reward {name!r} are reported (its "
                    f"own with {', '.join(ENDS[1:])} behind it); rename one of the two functions, or report one alone "
                    "(evaluation.rewards, preference_selection.rewards)"
                )
        return self

    @property
    def reward_names(self) -> set[str]:
        """Return every reward that a run opens."""
        selection = self.preference_selection
        names = {*self.evaluation.rewards, *selection.rewards, *selection.floors}
        names |= {self.prompt_curation.probe.reward} if self.prompt_curation.enabled else set()
        return names | ({self.synthesis.early_dropping.reward} if self.synthesis.early_dropping else set())

    @property
    def model_names(self) -> set[str]:
        """Return every reward, and all features that weighting, evaluation and votes read."""
        names = self.reward_names | {self.weighting.features, self.evaluation.features}
        return names | ({self.rewards.votes.features} if "votes" in names else set())

    @property
    def selecting(self) -> dict[str, str]:
        """Return the rewards that select training images, each with how it does; all others are held out."""
        return selecting_of(self.model_dump(include={"preference_selection", "synthesis"}))

    def within(self, root: Path) -> "Parameters":
        """Make relative paths absolute; like the catalog's, they are relative to the project's root."""
        return located(self, root)


@cache
def schema() -> type[Parameters]:
    """Return the class of the whole tree, with the sections that stages add."""
    added: dict[str, Any] = {name: (kind | None, None) for stage in stages() for name, kind in stage.settings.items()}
    return create_model("Parameters", __base__=Parameters, **added)


def parse_parameters(raw: Mapping[str, Any]) -> Parameters:
    """Validate a whole tree of parameters as Kedro loads it.

    Raises:
        ParameterError: one line that names each wrong parameter, its value and what is allowed.
    """
    secret = next((path for path, text in _texts(raw) if holds_credential(text)), None)
    if secret is not None:
        raise ParameterError(
            f"parameter '{secret}' holds what looks like a password or a key, which would be recorded with the run; "
            "take it out, and put it into the environment variable that its service reads"
        )
    try:
        return schema().model_validate(raw)
    except ValidationError as error:
        raise ParameterError(explain(error, schema(), raw)) from None


def _texts(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of a tree with its path."""
    if isinstance(tree, str):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _texts(value, f"{path}.{key}".lstrip("."))
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from _texts(value, f"{path}.{number}")
