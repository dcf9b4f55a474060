"""All parameters as one tree of settings, each part defined where it is used; and what is wrong with a tree."""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings, SamplerSettings
from rsidiff_kedro.errors import InputError
from rsidiff_kedro.prompts.settings import CurationSettings
from rsidiff_kedro.prompts.sources import SOURCES
from rsidiff_kedro.rewards.selection import SelectionSettings
from rsidiff_kedro.rewards.settings import RewardsSettings
from rsidiff_kedro.scenes.settings import BaseModelSettings
from rsidiff_kedro.statistics.distribution import WeightingSettings
from rsidiff_kedro.untrusted.text import holds_credential

MAX_ROUNDS = 100
WORDS = {
    "model_type": "it should be a section, with a value for each of its names",
    "dict_type": "it should be a section, with a value for each of its names",
    "tuple_type": "it should be a list, such as [a, b]",
    "bool_parsing": "it should be true or false",
    "bool_type": "it should be true or false",
}
"""What pydantic says in words of Python, in words of YAML, by the kind of error."""


class ParameterError(InputError):
    """Parameters that the project cannot run with; the message says in one line what to change."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SynthesisSettings(_Settings):
    """How a round draws its training images.

    Attributes:
        samples_per_prompt: images a prompt, of which preference selection keeps the best.
        sampler: how they are drawn.
    """

    samples_per_prompt: int = Field(ge=1)
    sampler: SamplerSettings


class KeepSettings(_Settings):
    """What `kedro rsi prune` leaves on disk.

    Attributes:
        runs: the newest runs that came to their end, whose images and adapters are kept; None: of all runs.
        rounds: of these, the last rounds whose training images are kept; None: of all rounds.
    """

    runs: int | None = Field(default=None, ge=1)
    rounds: int | None = Field(default=None, ge=1)


class SftSettings(_Settings):
    """Supervised fine-tuning on real pairs.

    Attributes:
        images: a folder in imagefolder layout.
        text_column: of its table, the captions.
        steps: optimizer steps; all other settings are those of `finetune`.
    """

    images: Path
    text_column: str = Field(default="text", min_length=1)
    steps: int = Field(default=600, ge=1)

    @field_validator("images")
    @classmethod
    def _expand(cls, images: Path) -> Path:
        try:
            return images.expanduser()
        except RuntimeError:
            raise ValueError(
                f"{str(images)!r} is in the home of no user of this machine; give the whole path"
            ) from None


class GateSettings(_Settings):
    """When a round's candidate becomes its adapter.

    Attributes:
        enabled: off accepts every candidate.
        tolerance: how much mean selection reward a candidate may lose to its parent, in the reward's unit, or in
            standard deviations if several rewards select.
    """

    enabled: bool = True
    tolerance: float = Field(default=0.0, ge=0)


class EvaluationSettings(_Settings):
    """How each round's adapter is measured.

    Attributes:
        rewards: reported beside those that select.
        judge: "scenes" for the exact judge of the embedded default, None for none.
        features: the embedding for diversity and for the distance to the base.
        samples_per_prompt: images a test prompt.
        validation_samples_per_prompt: images a validation prompt, for the gate.
        bootstrap_resamples: of every interval.
        gate: see `GateSettings`.
    """

    rewards: tuple[str, ...] = ("proxy",)
    judge: Literal["scenes"] | None = None
    features: str = "proxy"
    samples_per_prompt: int = Field(default=2, ge=1)
    validation_samples_per_prompt: int = Field(default=2, ge=1)
    bootstrap_resamples: int = Field(default=1000, ge=10, le=100_000)
    gate: GateSettings = GateSettings()


class Parameters(_Settings):
    """All parameters of `conf/`; a key that is not here is refused."""

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
    evaluation: EvaluationSettings
    sft: SftSettings
    base_model: BaseModelSettings
    keep: KeepSettings

    @property
    def reward_names(self) -> set[str]:
        """Every reward that a run will load."""
        selection = self.preference_selection
        names = {*self.evaluation.rewards, *selection.rewards, *selection.floors}
        return names | ({self.prompt_curation.probe.reward} if self.prompt_curation.enabled else set())

    @property
    def features_names(self) -> set[str]:
        """Every embedding of images that a run will load."""
        return {self.weighting.features, self.evaluation.features}


def parse_parameters(raw: Mapping[str, Any]) -> Parameters:
    """Validate a whole tree of parameters as Kedro loads it.

    Raises:
        ParameterError: one line that names each wrong parameter, its value and what is allowed.
    """
    tree = _one_source(raw)
    secret = next((path for path, text in _texts(tree) if holds_credential(text)), None)
    if secret is not None:
        raise ParameterError(
            f"parameter '{secret}' holds what looks like a password or a key, which would be recorded with the run; "
            "take it out, and put it into the environment variable that its service reads"
        )
    try:
        return Parameters.model_validate(tree)
    except ValidationError as error:
        problems = [_explain(details, tree) for details in error.errors()]
        raise ParameterError("; ".join(dict.fromkeys(problems))) from None


def _texts(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a tree with its path."""
    if isinstance(tree, str):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _texts(value, f"{path}.{key}".lstrip("."))
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from _texts(value, f"{path}.{number}")


def _one_source(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The tree without what belongs to the kind of prompt source that another layer of configuration overrode.

    `--params prompt_curation.source.kind=file` is merged into the grammar's settings of conf/base: these are then
    left over, not mistyped.
    """
    curation = raw.get("prompt_curation")
    if not isinstance(curation, Mapping):
        return dict(raw)
    kept = {name: _of_its_kind(curation[name]) for name in ("source", "evaluation_source") if name in curation}
    return {**raw, "prompt_curation": {**curation, **kept}}


def _of_its_kind(source: Any) -> Any:
    kind = SOURCES.get(str(source.get("kind"))) if isinstance(source, Mapping) else None
    if kind is None:
        return source
    of_others = {field for other in SOURCES.values() for field in other.model_fields} - kind.model_fields.keys()
    return {key: value for key, value in source.items() if key not in of_others}


def _explain(details: ErrorDetails, tree: Mapping[str, Any]) -> str:
    """One problem in one line."""
    path = _path(details, tree)
    name = ".".join(path)
    if details["type"] == "extra_forbidden":
        return f"unknown parameter '{name}'{_suggestion(path)}"
    if details["type"] == "missing":
        return f"parameter '{name}' is missing; set it"
    if details["type"] == "union_tag_invalid":
        given, known = details["ctx"]["tag"], details["ctx"]["expected_tags"]
        return f"parameter '{name}.kind' is {given!r}; there are {known}"
    message = WORDS.get(details["type"]) or details["msg"].removeprefix("Value error, ")
    if details["type"] == "value_error":
        return f"parameter '{name}': {message}" if name else message
    return f"parameter '{name}' is {details['input']!r}: {message[0].lower() + message[1:]}{_bounds(details)}"


def _path(details: ErrorDetails, tree: Mapping[str, Any]) -> list[str]:
    """The parameter's path; pydantic puts the kind of a union's member between its parts, which no user wrote."""
    path: list[str] = []
    here: Any = tree
    for part in details["loc"]:
        is_item = isinstance(here, list | tuple) and isinstance(part, int)
        if is_item or (isinstance(here, Mapping) and part in here):
            here = here[part]
        elif details["type"] != "missing" or part != details["loc"][-1]:
            continue
        path.append(str(part))
    return path


def _suggestion(path: list[str]) -> str:
    known = dict(parameter_fields())
    parent, key = ".".join(path[:-1]), path[-1]
    siblings = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == parent}
    anywhere = {name.rpartition(".")[2]: name for name in known}
    for names in (siblings, anywhere):
        close = difflib.get_close_matches(key, names, n=1, cutoff=0.7)
        if close:
            return f"; did you mean '{names[close[0]]}'?"
    return f"; there are {', '.join(siblings)}" if siblings else ""


def _bounds(details: ErrorDetails) -> str:
    """What the field allows, where pydantic's message may name only one of the bounds."""
    models: list[type[BaseModel]] = [Parameters]
    metadata: list[Any] = []
    for part in details["loc"]:
        of_kind = [
            model for model in models if "kind" in model.model_fields and model.model_fields["kind"].default == part
        ]
        fields = [model.model_fields[str(part)] for model in models if str(part) in model.model_fields]
        models = of_kind or (_models_in(fields[0].annotation) if fields else [])
        metadata = fields[0].metadata if fields and not of_kind else []
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = [
        f"{sign} {getattr(item, name)}"
        for item in metadata
        for name, sign in signs.items()
        if getattr(item, name, None) is not None
    ]
    return f" (allowed: {' and '.join(bounds)})" if len(bounds) > 1 else ""


def parameter_fields(model: type[BaseModel] = Parameters, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every parameter's dotted name and pydantic field, sections before what they hold."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", field
        for part in _models_in(field.annotation):
            yield from parameter_fields(part, f"{prefix}{name}.")


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    is_union = get_origin(annotation) in (Union, Annotated) or type(annotation).__name__ == "UnionType"
    return [model for part in get_args(annotation) for model in _models_in(part)] if is_union else []
