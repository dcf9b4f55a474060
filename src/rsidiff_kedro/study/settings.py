"""Read a study: the YAML file that names its arms, which are variants of the method, and its seeds."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from omegaconf import OmegaConf
from pydantic import Field, StringConstraints, ValidationError, model_validator
from yaml import YAMLError

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.core.validation import explain

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
"""An arm is a folder, so its name has letters, digits, _ and - only."""
Rounds = Annotated[int, Field(strict=True, ge=1, le=100)]
_ELSEWHERE = {"rounds": "its own `rounds`, beside `params`", "seed": "`seeds` of the study"}
"""Parameters that a study sets itself, and where."""


ACCURACY, HALLUCINATIONS, DIVERSITY = "accuracy", "hallucination rate", "diversity"
REWARD = "reward "
"""What a study measures, as its page names it: three measures, and each reward by its name behind a word."""


class StudyError(InputError):
    """A study that cannot be run as its file says; the message says what to change."""


class Pairing(NamedTuple):
    """Two arms to compare, the first minus the second, after a round; None: the last that both have."""

    first: str
    second: str
    after: int | None = None

    @property
    def arms(self) -> tuple[str, str]:
        """Return the names of both."""
        return self.first, self.second


class Measured(NamedTuple):
    """Rounds and measures that a run will have.

    Attributes:
        rounds: that are evaluated.
        labels: of the measures, as the page names them; the first is the page's first if no other arm has a judge.
    """

    rounds: tuple[int, ...]
    labels: tuple[str, ...]


class ArmSettings(Section):
    """One arm.

    Attributes:
        params: the parameters in which it differs from the environment, nested or with dots in their names.
        rounds: None for the study's.
        pipeline: rsi, the whole method, or sft, supervised fine-tuning on the pairs in `sft.images`.
    """

    params: dict[str, Any] = Field(default_factory=dict)
    rounds: Rounds | None = None
    pipeline: Literal["rsi", "sft"] = "rsi"


class Claim(Section):
    """A sentence that the figures confirm, contradict or do not show.

    Attributes:
        says: the sentence.
        of: an arm and a round.
        over: what it is compared with, the same way; round 0 is the base, and supervised fine-tuning is round 1.
        expected: of the first over the second: higher, lower, or no lower, beyond its interval.
        measure: as the page names it, such as "hallucination rate"; None: the page's first.
    """

    says: str
    of: tuple[str, Annotated[int, Field(strict=True, ge=0, le=100)]]
    over: tuple[str, Annotated[int, Field(strict=True, ge=0, le=100)]]
    expected: Literal["higher", "lower", "no lower"] = "higher"
    measure: str | None = None


class StudySettings(Section):
    """A study.

    Attributes:
        about: a remark for the page, such as when and on which machine it was run.
        env: the environment of all runs, as in `kedro run`; None for the default.
        rounds: of each arm that names no number.
        seeds: each arm runs once with each.
        arms: by name; the first is what the others are compared with.
        compare: pairs of arms to compare, see `Pairing`; None compares each arm with the first.
        claims: sentences to judge, see `Claim`.
        split: the prompts that are evaluated: test, or validation for choosing.
        workers: runs side by side, each with one thread.
    """

    about: str | None = None
    env: str | None = None
    rounds: Rounds
    seeds: tuple[Annotated[int, Field(strict=True, ge=0, lt=2**32)], ...] = Field(min_length=1)
    arms: dict[Name, ArmSettings] = Field(min_length=1)
    compare: tuple[tuple[str, str] | tuple[str, str, Rounds], ...] | None = None
    claims: tuple[Claim, ...] = ()
    split: Literal["test", "validation"] = "test"
    workers: int = Field(default=1, strict=True, ge=1, le=256)

    @model_validator(mode="after")
    def _consistent(self) -> "StudySettings":
        twice = sorted({seed for seed in self.seeds if self.seeds.count(seed) > 1})
        if twice:
            raise ValueError(f"seeds names {twice[0]} twice; name each seed once")
        alike = [pair for pair in combinations(self.arms, 2) if pair[0].lower() == pair[1].lower()]
        if alike:
            raise ValueError(f"arms {alike[0][0]!r} and {alike[0][1]!r} would share a folder on some disks; rename one")
        for name, arm in self.arms.items():
            _check_arm(name, arm)
        for pair in self.pairs:
            self._check_pair(pair)
        for claim in self.claims:
            self._check_claim(claim)
        return self

    def _check_claim(self, claim: Claim) -> None:
        shown, known = f"claim {claim.says!r}", (ACCURACY, HALLUCINATIONS, DIVERSITY)
        if claim.measure and claim.measure not in known and not claim.measure.startswith(REWARD):
            raise ValueError(
                f"{shown} is about {claim.measure!r}, which no study measures; name {', '.join(known)} or "
                f"'{REWARD}<name>'"
            )
        for arm, number in (claim.of, claim.over):
            if arm not in self.arms:
                raise ValueError(f"{shown}: there is no arm {arm!r}; name one of {', '.join(self.arms)}")
            if number > self.rounds_of(arm):
                raise ValueError(f"{shown}: {arm} has {self.rounds_of(arm)} rounds; name one of these")

    def _check_pair(self, pair: Pairing) -> None:
        shown = f"compare has [{', '.join(map(str, filter(None, pair)))}]"
        unknown = [name for name in pair.arms if name not in self.arms]
        if unknown or pair.first == pair.second:
            problem = f"there is no arm {unknown[0]!r}" if unknown else "it compares an arm with itself"
            raise ValueError(f"{shown}: {problem}; name two of {', '.join(self.arms)}")
        short = [name for name in pair.arms if name not in self.flat and self.rounds_of(name) < (pair.after or 0)]
        if short:
            raise ValueError(f"{shown}: {short[0]} has {self.rounds_of(short[0])} rounds; name a round of both")

    def check_measured(self, by_arm: Mapping[str, Measured]) -> None:
        """Check that what is claimed and compared will have been measured.

        The default pairs, without `compare`, are not checked: the page says which of them were not measured.

        Args:
            by_arm: what the runs of each arm will have measured.

        Raises:
            StudyError: it will not.
        """
        for pair in self.pairs if self.compare is not None else ():
            _check_compared(pair, {arm: by_arm[arm].rounds for arm in pair.arms if arm not in self.flat})
        judged = any(ACCURACY in each.labels for each in by_arm.values())
        first = ACCURACY if judged else by_arm[next(iter(self.arms))].labels[0]
        for claim in self.claims:
            for arm, number in (claim.of, claim.over):
                _check_claimed(claim, arm, number, by_arm[arm], claim.measure or first)

    @property
    def pairs(self) -> tuple[Pairing, ...]:
        """Return the pairs of arms to compare."""
        if self.compare is not None:
            return tuple(Pairing(*pair) for pair in self.compare)
        first, *others = self.arms
        return tuple(Pairing(name, first) for name in others)

    @property
    def flat(self) -> frozenset[str]:
        """Return the arms without rounds, which are compared with any round of the others."""
        return frozenset(name for name, arm in self.arms.items() if arm.pipeline == "sft")

    def rounds_of(self, arm: str) -> int:
        """Return how many rounds an arm has; supervised fine-tuning is one."""
        settings = self.arms[arm]
        return 1 if settings.pipeline == "sft" else settings.rounds or self.rounds


def _check_compared(pair: Pairing, rounds: Mapping[str, tuple[int, ...]]) -> None:
    tested = "; ".join(f"{arm} after {_listed(numbers)}" for arm, numbers in rounds.items())
    arms = " and ".join(pair.arms)
    if rounds and not set.intersection(*map(set, rounds.values())) - {0}:
        raise StudyError(
            f"{arms} are compared, but no round of both is tested except the base ({tested}); set rounds or "
            "evaluation.test_every so that one is, or name other pairs in `compare`"
        )
    if pair.after and any(pair.after not in numbers for numbers in rounds.values()):
        raise StudyError(
            f"compare has [{', '.join(map(str, pair))}], but not both are tested after round {pair.after} ({tested}); "
            "name a round of both, or set evaluation.test_every"
        )


def _check_claimed(claim: Claim, arm: str, number: int, measured: Measured, label: str) -> None:
    shown = f"the claim {claim.says!r}"
    if number not in measured.rounds:
        raise StudyError(
            f"{shown} is about round {number} of {arm}, which is tested after {_listed(measured.rounds)}; name one of "
            "these, or set evaluation.test_every"
        )
    if label not in measured.labels:
        raise StudyError(
            f"{shown} is about {label!r}, which {arm} does not measure; name one of {', '.join(measured.labels)}, or "
            "set evaluation.rewards, evaluation.judge or samples_per_prompt so that it does"
        )


def _listed(rounds: Sequence[int]) -> str:
    return f"rounds {', '.join(map(str, rounds))}"


def _check_arm(name: str, arm: ArmSettings) -> None:
    tree = nested(arm.params, name)
    for key, place in _ELSEWHERE.items():
        if key in tree:
            raise ValueError(f"arm {name!r} sets {key} in its params; set it in {place}")
    if arm.pipeline == "sft" and arm.rounds is not None:
        raise ValueError(f"arm {name!r} has rounds, but supervised fine-tuning has none; set sft.steps in its params")


def nested(params: Mapping[str, Any], arm: str) -> dict[str, Any]:
    """Return parameters as a tree: `{"a.b": 1, "a": {"c": 2}}` is `{"a": {"b": 1, "c": 2}}`.

    Raises:
        ValueError: a parameter is named twice.
    """
    tree: dict[str, Any] = {}
    for name, value in params.items():
        *sections, last = name.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ValueError(f"arm {arm!r} sets {name} and the whole of {section}; set one of them")
        _put(place, last, value, name, arm)
    return tree


def _put(place: dict[str, Any], key: str, value: Any, name: str, arm: str) -> None:
    if key not in place:
        place[key] = deepcopy(value)  # what follows may add to it
    elif isinstance(place[key], dict) and isinstance(value, Mapping):
        for part, inner in value.items():
            _put(place[key], part, inner, f"{name}.{part}", arm)
    else:
        raise ValueError(f"arm {arm!r} sets {name} twice; set it once")


def read_study(path: Path) -> StudySettings:
    """Read a study's file.

    Raises:
        StudyError: it cannot be read, or says something that cannot be run.
    """
    try:
        tree = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (OSError, YAMLError, ValueError) as error:  # omegaconf's errors are ValueErrors too
        raise StudyError(f"the study {path} cannot be read: {error}; correct the file") from error
    if not isinstance(tree, dict):
        raise StudyError(f"the study {path} is a list; write `name: value`, with rounds, seeds and arms")
    named: dict[str, Any] = {str(name): value for name, value in tree.items()}
    try:
        return StudySettings.model_validate(named)
    except ValidationError as error:
        raise StudyError(f"the study {path}: {explain(error, StudySettings, named)}") from None
