"""Derive the runs of a study from its file, the configuration and the code, and find what they made."""

import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import click
from kedro.config import AbstractConfigLoader
from kedro.io import DatasetError
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline

from rsidiff_kedro.cli.project import open_catalog
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.hub import commit_of
from rsidiff_kedro.datasets.runs import Run, catalog_config, own_dataset
from rsidiff_kedro.evaluation.settings import rounds_to_test
from rsidiff_kedro.hooks.configuration import merge, open_configuration
from rsidiff_kedro.hooks.keyed_parameters import KeyedParameters
from rsidiff_kedro.hooks.saved import Saved
from rsidiff_kedro.hooks.steps import Steps, nearest
from rsidiff_kedro.parameters import ParameterError, Parameters, parse_parameters
from rsidiff_kedro.pipelines import stages
from rsidiff_kedro.pipelines.stage import compose
from rsidiff_kedro.provenance.code_digest import read_again
from rsidiff_kedro.provenance.content_digest import content_digest, content_of
from rsidiff_kedro.provenance.records import Record, Records, changed_names, differences, flat
from rsidiff_kedro.provenance.retention import RECORDS
from rsidiff_kedro.study.runs import STEPS, Job, check_data
from rsidiff_kedro.study.settings import (
    ACCURACY,
    DIVERSITY,
    HALLUCINATIONS,
    REWARD,
    Measured,
    StudyError,
    StudySettings,
    nested,
)
from rsidiff_kedro.study.tables import Tables, round_tables

_SHOWN = 3
"""Differences that a message names."""
_PARTS = ("code", "assets", "libraries", "catalog")
"""Parts of a step's record that a run takes as they are when it begins."""
_COMMIT = re.compile(r"(.+) \([0-9a-f]{40}\)")
"""A hub id with its commit, as keys hold it."""
_ALONE = threading.Lock()
"""Held while the configuration is read: what its files refer to is registered for the whole process."""


class Plan(NamedTuple):
    """The steps of a run, as they are now: what it has made is what the records of the same keys say.

    Attributes:
        steps: their records, without their inputs' digests, in an order in which they can be made.
        inputs: the digests of what none of them makes.
        tested: the rounds that are tested.
        measured: what a claim may be about.
        records: of the steps that were made.
        catalog: see `catalog_config`.
    """

    steps: list[Record]
    inputs: dict[str, str]
    tested: list[int]
    measured: Measured
    records: Records
    catalog: dict[str, Any]


@dataclass(frozen=True)
class StudyJobs:
    """The runs of a study.

    Attributes:
        settings: the study's.
        root: the project's folder.
        folder: of the study's runs.
        say: shows a line.
        plans: by the folders of runs.
    """

    settings: StudySettings
    root: Path
    folder: Path
    say: Callable[[str], None]
    plans: dict[Path, Plan] = field(default_factory=dict)

    def all(self) -> Iterator[Job]:
        """Yield each run, seed by seed, after its parameters are checked as `kedro run` checks them.

        Raises:
            InputError: they cannot be run, or will not measure what the study claims or compares.
        """
        content, measured = cache(content_of), dict[str, Measured]()
        for seed in self.settings.seeds:
            for arm in self.settings.arms:
                job, loader = self._job(arm, seed)
                with _in_one_line():
                    self.plans[job.folder] = self.plan(job, loader, content)
                measured[arm] = self.plans[job.folder].measured
                yield job
            self.settings.check_measured(measured)

    def _job(self, name: str, seed: int) -> tuple[Job, AbstractConfigLoader]:
        """Return a run with its configuration: it gets its arm's parameters, and those that its place would change."""
        arm, rounds = self.settings.arms[name], self.settings.rounds_of(name)
        params = {**nested(arm.params, name), "rounds": rounds, "seed": seed}
        _, loader = open_configuration(self.settings.env, params)
        given = _parsed(loader, name)
        moved = _moved(given.model_dump(mode="json"), _within(given, self.root, name).model_dump(mode="json"))
        place = self.folder / name / f"seed_{seed}"
        loader.runtime_params = merge(params, moved)
        return Job(name, seed, rounds, place, self.settings.env, loader.runtime_params, arm.pipeline), loader

    def plan(self, job: Job, loader: AbstractConfigLoader, content: Callable[..., str | None] = content_of) -> Plan:
        """Return what a run's steps depend on now; its own project is its folder.

        Args:
            job: the run.
            loader: of its configuration, with its parameters.
            content: see `KeyedParameters`.

        Raises:
            InputError: it cannot be run.
        """
        check_data(loader["globals"]["data"])
        parsed = _within(_parsed(loader, job.arm), job.folder, job.arm)
        own = catalog_config(job.folder, loader)
        tested = rounds_to_test(job.rounds, parsed.evaluation.test_every)
        measured = measured_by(parsed, job.rounds, self.settings.split)
        for each in chain.from_iterable(self._measured(job, measured.rounds).values()):
            own_dataset(own, each)
        pipeline, catalog = _pipeline(job.pipeline, job.rounds, tuple(tested)), open_catalog(job.folder, loader)
        tree = parsed.model_dump()
        for name in filter(is_parameter, pipeline.inputs()):
            catalog[name] = _part(tree, name.removeprefix("params:"))
        steps = Steps(catalog, KeyedParameters(parsed, job.folder, content), parsed.execution.threads)
        unknown = dict.fromkeys(pipeline.datasets(), ("", ""))
        saved, free = Saved(catalog), [name for name in pipeline.inputs() if not is_parameter(name)]
        return Plan(
            [steps.describe(node, unknown) for node in pipeline.nodes if node.outputs],
            {name: saved.found(name)[0] for name in free},
            [*tested],
            measured,
            Records(job.folder / loader["globals"]["data"] / RECORDS),
            own,
        )

    def begin(self, job: Job) -> None:
        """Plan a run that begins, which may have waited long, as things are now; say what changed.

        Raises:
            StudyError: what its steps read of the parameters changed, or the content of what they name, or cannot be
                read.
        """
        with _in_one_line(), _ALONE:
            commit_of.cache_clear()  # the run asks the hub, too
            read_again()
            now = self.plan(job, open_configuration(job.env, dict(job.params))[1], cache(content_of))
        before = self.plans[job.folder]
        read, others = dict[str, str](), set[str]()
        if before.tested != now.tested:
            read["evaluation.test_every"] = f"the tested rounds are {now.tested}, were {before.tested}"
        steps = {each.step: each for each in before.steps}
        for old, new in ((steps[each.step], each) for each in now.steps if each.step in steps):
            for name, was, value in _other_parameters(old, new):
                read[name] = f"{name} is {value}, was {was}{_pin(name, was, value)}"
            others |= {part for part in _PARTS if getattr(old, part) != getattr(new, part)}
        if read:
            raise StudyError(
                f"{'; '.join([*read.values()][:_SHOWN])}: this changed since the study began, whose page would name "
                "what was; set it back, or leave it, and run the command again, which reuses what it can"
            )
        if others:
            said = ", ".join(sorted(others))
            self.say(f"{job.name}: {said} changed since the study began; it is made with what is there now")
        self.plans[job.folder] = now

    def is_done(self, job: Job) -> bool:
        """Tell whether a run need not be made: its steps are recorded, and what they made that is measured is there."""
        with suppress(InputError, OSError):
            return bool(self.find(job).versions)
        return False

    def find(self, job: Job) -> Run:
        """Return what was made by a run's steps as they are planned, whatever else was made in its folder.

        Raises:
            InputError: a step was not made so, or what is measured of it was deleted or changed.
        """
        plan = self.plans[job.folder]
        measured = {*chain.from_iterable(self._measured(job, plan.measured.rounds).values())}
        with _in_one_line():
            made = _made(job, plan, measured)
        versions = {name: each.version for each in made for name in each.outputs}
        return Run("", True, versions, made, plan.catalog)

    def measured(self, job: Job) -> list[Tables]:
        """Return the tables of each tested round of a run that is done.

        Raises:
            InputError, OSError: it is no longer, or what it made cannot be read.
        """
        with _in_one_line():
            return list(self._tables(job, self.find(job)))

    def _tables(self, job: Job, run: Run) -> Iterator[Tables]:
        for number, (name, datasets) in enumerate(self._measured(job, self.plans[job.folder].measured.rounds).items()):
            wanted = self._scores(name)
            if wanted in datasets:
                scores, metrics = run.load(wanted), run.load(f"{name}.metrics")
                rewards = [each for each in scores.attrs["rewards"] if each in scores]
                yield round_tables(job.arm, job.seed, number, scores, rewards, metrics)

    def _measured(self, job: Job, shown: Collection[int]) -> dict[str, list[str]]:
        """Return the datasets of a run that are measured, by round; fine-tuning on pairs is compared with round 0."""
        rounds = [f"{job.pipeline if number else 'rsi'}.round_{number}" for number in range(job.rounds + 1)]
        return {
            name: [f"{name}.metrics", *([self._scores(name)] if number in shown else [])]
            for number, name in enumerate(rounds)
        }

    def _scores(self, name: str) -> str:
        """Return the dataset of a round's scores that the study measures."""
        return f"{name}.{self.settings.split}_scores"


def _parsed(loader: AbstractConfigLoader, arm: str) -> Parameters:
    try:
        return parse_parameters(loader["parameters"])
    except ParameterError as error:
        raise StudyError(f"arm {arm!r}: {error}") from error


def _within(parameters: Parameters, root: Path, arm: str) -> Parameters:
    try:
        return parameters.within(root)
    except ParameterError as error:
        raise StudyError(f"arm {arm!r}: {error}") from error


def measured_by(parameters: Parameters, rounds: int, split: str) -> Measured:
    """Return what a run will have measured; diversity counts also if it may turn out that no two images are right."""
    evaluation, selection = parameters.evaluation, parameters.preference_selection
    rewards = [f"{REWARD}{name}" for name in dict.fromkeys([*evaluation.rewards, *selection.rewards])]
    if split == "test":
        shown, samples = rounds_to_test(rounds, evaluation.test_every), evaluation.samples_per_prompt
    else:
        shown, samples = [*range(rounds + 1)], parameters.gate.samples_per_prompt
    judged = evaluation.judge is not None
    diversity = [DIVERSITY] if samples > 1 and (judged or split == "test") else []
    labels = [ACCURACY, HALLUCINATIONS, *diversity, *rewards] if judged else [*rewards, *diversity]
    return Measured(tuple(shown), tuple(labels))


@cache
def _pipeline(name: str, rounds: int, tested: tuple[int, ...]) -> Pipeline:
    """Return the steps of all runs that an arm needs."""
    composed = compose(stages(), rounds, tested)
    parts = [composed[part].to_outputs(last) if last else composed[part] for part, last in STEPS[name]]
    return sum(parts, Pipeline([]))


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Turn errors of Kedro about the configuration and the datasets into one that fails a single run."""
    try:
        yield
    except (click.ClickException, DatasetError) as error:
        raise StudyError(str(error)) from error


def _made(job: Job, plan: Plan, measured: Collection[str]) -> list[Record]:
    """Return a record of each step, made of what the steps before it have made: the newest of which that is so.

    On GPUs a step that is made again may make something else, of which nothing else was made.

    Raises:
        StudyError: there is none, or of what is measured none whose files are what was saved.
    """
    found, others, first = list[Record](), list[list[Record]](), None
    while len(found) < len(plan.steps):
        content = plan.inputs | {name: digest for each in found for name, digest in each.outputs.items()}
        step = plan.steps[len(found)]
        wanted = step.model_copy(update={"inputs": {name: content[name] for name in step.inputs}})
        try:
            made = _made_of(wanted, job, plan, measured)
        except StudyError as error:
            first = first or error
            choice = _last_choice(plan.steps, others)
            if choice is None:
                raise first from None
            made = others[choice]
            del found[choice:], others[choice:]
        found.append(made[0])
        others.append(made[1:])
    return found


def _last_choice(steps: Sequence[Record], others: Sequence[Sequence[Record]]) -> int | None:
    """Return the last step before the one after these that leads to it, and has made something else too."""
    needed = {*steps[len(others)].inputs}
    for number in reversed(range(len(others))):
        if needed & steps[number].outputs.keys():
            if others[number]:
                return number
            needed |= steps[number].inputs.keys()
    return None


def _made_of(wanted: Record, job: Job, plan: Plan, measured: Collection[str]) -> list[Record]:
    """Return the newest sound record of each content that a step has made, the newest first; there is one at least."""
    made = plan.records.versions(wanted.key)
    if not made:
        raise StudyError(
            f"no run in {job.folder} that came to its end made {' and '.join(wanted.outputs)} as the study says "
            f"({_why(wanted, plan.records)}); leave conf/, src/ and the folder as they are while it runs, and run "
            "the command again"
        )
    names, found = [name for name in wanted.outputs if name in measured], list[Record]()
    for each in made:
        is_new = each.outputs not in [one.outputs for one in found]
        if is_new and all(_is_there(name, each, plan.catalog) for name in names):
            found.append(each)
    if not found:
        raise StudyError(
            f"what the run in {job.folder} made as {' and '.join(names)} was deleted or changed meanwhile; run the "
            "command again, which makes that anew"
        )
    return found


def _is_there(name: str, made: Record, catalog: Mapping[str, Any]) -> bool:
    place = Path(own_dataset(catalog, name, made.version)._get_load_path())
    return place.exists() and content_digest(place) == made.outputs[name]


def _why(wanted: Record, records: Records) -> str:
    """Say how a step differs from the most similar one that was made."""
    made = nearest(wanted, [each for each in records.all() if each.step == wanted.step])
    if made is None:
        return "it was never made"
    pins = (_pin(*each) for each in _other_parameters(made, wanted))
    return f"{'; '.join([*differences(made, wanted)][:_SHOWN])}{''.join(dict.fromkeys(pins))}"


def _other_parameters(before: Record, after: Record) -> Iterator[tuple[str, Any, Any]]:
    """Yield each parameter that two steps have read differently, with both values."""
    old, new = flat(before.parameters), flat(after.parameters)
    yield from ((name, old.get(name), new.get(name)) for name in changed_names(old, new))


def _pin(name: str, before: object, after: object) -> str:
    """Say how to keep a commit, where two values of a parameter differ in it alone; else nothing."""
    ids = [_COMMIT.fullmatch(str(each)) for each in (before, after)]
    if None in ids or len({match[1] for match in ids if match}) > 1:
        return ""
    return f" (its branch on the hub moved: name a commit as {name.rpartition('.')[0]}.revision, or use a local copy)"


def _part(tree: Any, path: str) -> Any:
    """Return the part of a tree at a path, the whole of it as `parameters`; None if there is none."""
    for name in path.split(".") if path != "parameters" else ():
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree


def _moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a tree that differs."""
    changed = {}
    for name, value in after.items():
        old = before[name]
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            part = _moved(old, value)
            if part:
                changed[name] = part
        elif value != old:
            changed[name] = value
    return changed
