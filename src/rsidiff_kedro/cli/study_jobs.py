"""Derive the runs of a study from its file, the configuration and the code, and find what they made."""

import json
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import click
from kedro.io import DatasetError

from rsidiff_kedro.core.hub import commit_of
from rsidiff_kedro.core.locations import Found
from rsidiff_kedro.core.untrusted.paths import is_hidden
from rsidiff_kedro.datasets.runs import Run, Runs, catalog_config, own_dataset
from rsidiff_kedro.evaluation.settings import rounds_to_test
from rsidiff_kedro.hooks.configuration import merge, open_configuration
from rsidiff_kedro.hooks.dataset_options import options_in
from rsidiff_kedro.hooks.keyed_parameters import KeyedParameters, texts
from rsidiff_kedro.parameters import ParameterError, Parameters, parse_parameters
from rsidiff_kedro.provenance.code_digest import PACKAGE, assets_digest, library_versions
from rsidiff_kedro.provenance.content_digest import content_digest, content_of
from rsidiff_kedro.provenance.plugin_code import plugins_digest
from rsidiff_kedro.provenance.records import Record, changed_names, flat
from rsidiff_kedro.study.runs import Job, check_data
from rsidiff_kedro.study.settings import StudyError, StudySettings, nested
from rsidiff_kedro.study.tables import Tables, round_tables

_SHOWN = 3
"""Differences that a message names."""
_READ = ("parameters", "threads", "tested")
"""Parts of a run's content that the study's file and parameters decide, and that stay what they were."""
_APART = {"rsi": ("sft",), "sft": ("weighting", "replay", "gate")}
"""Sections of the parameters that no step of a pipeline reads."""
_COMMIT = re.compile(r"(.+) \([0-9a-f]{40}\)")
"""A hub id with its commit, as keys hold it."""
_ALONE = threading.Lock()
"""Held while the configuration is read: what its files refer to is registered for the whole process."""


@dataclass(frozen=True)
class _Plan:
    """The parameters that a run's records are compared with, and the place of the datasets that it makes.

    Attributes:
        tree: its parameters.
        keyed: these as the keys of its steps hold them, with the content of files and hub ids as it was before the run.
        data: the folder of its datasets.
        catalog: of them, see `catalog_config`.
    """

    tree: dict[str, Any]
    keyed: KeyedParameters
    data: Path
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
    plans: dict[Path, _Plan] = field(default_factory=dict)

    def all(self) -> Iterator[Job]:
        """Yield each run, seed by seed, after its parameters are checked as `kedro run` checks them.

        Raises:
            InputError: they cannot be run.
        """
        code = _code(self.root)
        for seed in self.settings.seeds:
            for arm in self.settings.arms:
                job, self.plans[self._place(arm, seed)] = self._job(arm, seed, code)
                yield job

    def _place(self, name: str, seed: int) -> Path:
        return self.folder / name / f"seed_{seed}"

    def _job(self, name: str, seed: int, code: str) -> tuple[Job, _Plan]:
        arm, rounds, place = self.settings.arms[name], self.settings.rounds_of(name), self._place(name, seed)
        parsed, changed, loader = self._parse(name, seed)
        check_data(loader["globals"]["data"])
        tree, content_then = parsed.model_dump(), _remembered()
        read = {name: value for name, value in tree.items() if name not in _APART[arm.pipeline]}
        keyed = KeyedParameters(parsed, self.root, content_then).of_step(read)
        content = {
            "parameters": keyed,
            "threads": parsed.execution.threads,  # on which training depends
            "tested": rounds_to_test(rounds, parsed.evaluation.test_every),
            "split": self.settings.split,
            "env": self.settings.env,
            "pipeline": arm.pipeline,
            "code": code,
            "catalog": _catalog(loader["catalog"]),
            **_from_elsewhere(keyed),
        }
        job = Job(name, seed, rounds, place, self.settings.env, changed, content, arm.pipeline)
        catalog = catalog_config(place, loader)
        for each in chain.from_iterable(_measured(job).values()):
            own_dataset(catalog, each)
        by_steps = KeyedParameters(parsed, place, content_then)  # a run's own project is its folder
        return job, _Plan(tree, by_steps, place / loader["globals"]["data"], catalog)

    def _parse(self, name: str, seed: int) -> tuple[Parameters, dict[str, Any], Any]:
        """Return an arm's parameters, those that its runs get, with paths that are absolute, and the configuration."""
        arm, rounds = self.settings.arms[name], self.settings.rounds_of(name)
        params = {**nested(arm.params, name), "rounds": rounds, "seed": seed}
        _, loader = open_configuration(self.settings.env, params)
        try:
            given = parse_parameters(loader["parameters"])
            placed = given.within(self.root)
        except ParameterError as error:
            raise StudyError(f"arm {name!r}: {error}") from error
        return placed, merge(params, _moved(given.model_dump(mode="json"), placed.model_dump(mode="json"))), loader

    def begin(self, job: Job) -> None:
        """Take the content of a run that begins, which may have waited long, from what is there now; say what changed.

        Raises:
            StudyError: its parameters changed, or the content of what they name, or cannot be read.
        """
        with _in_one_line(), _ALONE:
            commit_of.cache_clear()  # the run asks the hub, too
            now, plan = self._job(job.arm, job.seed, _code(self.root))
        before, after = flat(job.content), flat(now.content)
        changed = changed_names(before, after)
        read = [name for name in changed if name.partition(".")[0] in _READ]
        if read:
            said = [
                f"{name.removeprefix('parameters.')} is {after.get(name)}, was {before.get(name)}"
                f"{_pin(name.removeprefix('parameters.'), before.get(name), after.get(name))}"
                for name in read
            ]
            raise StudyError(
                f"{'; '.join(said[:_SHOWN])}: this changed since the study began, whose page would name what was; "
                "set it back, or leave it, and run the command again, which reuses what it can"
            )
        if changed:
            self.say(
                f"{job.name}: {', '.join(changed)} changed since the study began; it is made with what is there now"
            )
        job.content.update(now.content)
        self.plans[job.folder] = plan

    def find(self, job: Job) -> dict[str, tuple[str, Path]]:
        """Return the version and the file of each dataset of a run that is measured, by its name.

        In each round they are those of the newest run in the folder that is the job's: another one may have been made
        there meanwhile, by hand.

        Raises:
            StudyError: there is none.
        """
        plan = self.plans[job.folder]
        with _in_one_line():
            return dict(_found(job, plan, Runs(plan.data, plan.catalog)))

    def measured(self, job: Job) -> list[Tables]:
        """Return the tables of each tested round of a run that is done.

        Raises:
            InputError, OSError: it is no longer, or what it made cannot be read.
        """
        done = job.done
        if done is None:
            raise StudyError(
                f"what the run in {job.folder} made was deleted or changed meanwhile; run the command again, which "
                "makes that anew"
            )
        versions = {name: made.version for name, made in done.made.items()}
        digests = {name: made.digest for name, made in done.made.items()}
        config = self.plans[job.folder].catalog
        with _in_one_line():
            return list(_tables(job, Run("", True, versions, [], config, digests)))


def _tables(job: Job, run: Run) -> Iterator[Tables]:
    for number, (name, datasets) in enumerate(_measured(job).items()):
        wanted = _scores(name, job)
        if wanted in datasets:
            scores, metrics = run.load(wanted), run.load(f"{name}.metrics")
            rewards = [each for each in scores.attrs["rewards"] if each in scores]
            yield round_tables(job.arm, job.seed, number, scores, rewards, metrics)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Turn errors of Kedro about the configuration and the datasets into one that fails a single run."""
    try:
        yield
    except (click.ClickException, DatasetError) as error:
        raise StudyError(str(error)) from error


def _measured(job: Job) -> dict[str, list[str]]:
    """Return the datasets of a run that are measured, by round; fine-tuning on pairs is compared with round 0."""
    rounds = [f"{job.pipeline if number else 'rsi'}.round_{number}" for number in range(job.rounds + 1)]
    shown = {*job.content["tested"]} if job.content["split"] == "test" else {*range(job.rounds + 1)}
    return {
        name: [f"{name}.metrics", *([_scores(name, job)] if number in shown else [])]
        for number, name in enumerate(rounds)
    }


def _scores(name: str, job: Job) -> str:
    """Return the dataset of a round's scores that the study measures."""
    return f"{name}.{job.content['split']}_scores"


def _found(job: Job, plan: _Plan, runs: Runs) -> Iterator[tuple[str, tuple[str, Path]]]:
    for number, (name, datasets) in enumerate(_measured(job).items()):
        run = _run_of(job, plan, runs, name, number in job.content["tested"])
        yield from ((each, (run.versions[each], run.path(each))) for each in datasets)


def _run_of(job: Job, plan: _Plan, runs: Runs, name: str, tested: bool) -> Run:
    """Return the newest run that came to its end, whose steps of a round have read the job's parameters.

    Raises:
        StudyError: there is none.
    """
    metrics = f"{name}.metrics"
    others: list[str] = []
    for run in runs.ended_with(metrics):
        differences = _differences(plan, run.leading_to(metrics))
        if not differences and (f"{name}.test_scores" in run.versions) == tested:
            return run
        others = others or differences or ["another evaluation.test_every"]
    said = f"the newest read {', '.join(others[:_SHOWN])}" if others else "there is none"
    raise StudyError(
        f"no run in {job.folder} that came to its end made {metrics} as the study says ({said}); leave conf/ and the "
        "folder as they are while it runs, and run the command again"
    )


def _differences(plan: _Plan, records: Collection[Record]) -> list[str]:
    """Say what the steps of a run read of the parameters, and of files that they name, that is not the job's.

    What the pipeline itself fixes has names of its own.
    """
    if not records:
        return ["what no record tells"]
    found = dict[str, str]()
    for read in {json.dumps(each.parameters, sort_keys=True): each.parameters for each in records}.values():
        plain = {name: _part(plan.tree, name) for name in read if name.partition(".")[0] in plan.tree}
        wanted = plan.keyed.of_step(plain)
        other = [name for name in plain if read[name] not in (wanted[name], plain[name])]  # threads are keyed plain
        before, after = (flat({name: values[name] for name in other}) for values in (read, wanted))
        for name in changed_names(before, after):
            was, now = before.get(name), after.get(name)
            found[name] = f"{name} {was} for {now}{_pin(name, was, now)}"
    return sorted(found.values())


def _pin(name: str, before: object, after: object) -> str:
    """Say how to keep a commit, where two values of a parameter differ in it alone; else nothing."""
    ids = [_COMMIT.fullmatch(str(each)) for each in (before, after)]
    if None in ids or len({match[1] for match in ids if match}) > 1:
        return ""
    return f" (its branch on the hub moved: name a commit as {name.rpartition('.')[0]}.revision, or use a local copy)"


def _remembered() -> Callable[[Found, bool], str | None]:
    """Return a `content_of` whose answers stay the first ones: what a run read is compared with what was there."""
    kept = cache(content_of)
    return lambda found, asks_hub: kept(found, asks_hub or Path(found.value).is_absolute())


def _part(tree: Any, path: str) -> Any:
    """Return the part of a tree at a path; None if there is none."""
    for name in path.split("."):
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


def _code(root: Path) -> str:
    """Return a digest of the code of this package and of the project, and of the networks that are shipped."""
    beside, parts = (PACKAGE / "cli", PACKAGE / "study"), dict[Path, str]()
    for folder in (PACKAGE, root.resolve() / "src"):
        for path in folder.rglob("*.py"):
            if is_hidden(str(path.relative_to(folder))) or any(map(path.is_relative_to, beside)):
                continue  # such as the lock of an editor
            with suppress(FileNotFoundError):  # a link that leads nowhere, or deleted meanwhile
                parts[path] = content_digest(path)
    digests = [digest for _, digest in sorted(parts.items())]
    return sha256(" ".join([*digests, assets_digest()]).encode()).hexdigest()[:16]


def _from_elsewhere(parameters: Any) -> dict[str, Any]:
    """Return the versions of libraries, and a digest of the plug-ins that parameters name as `module:name`."""
    named = frozenset(texts(parameters))
    plugins = {text.partition(":")[0] for text in named if re.fullmatch(r"[\w.]+:\w+", text)}
    return {"libraries": library_versions(named), "plugins": plugins_digest(plugins) if plugins else None}


def _catalog(config: Mapping[str, Any]) -> str:
    """Return a digest of the catalog's options that decide what is loaded or saved."""
    options = {name: options_in(each) for name, each in config.items()}
    return sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]
