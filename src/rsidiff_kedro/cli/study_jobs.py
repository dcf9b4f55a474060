"""Derive the runs of a study from its file, the configuration and the code, and find what they made."""

import json
import re
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
from kedro.io import DatasetError

from rsidiff_kedro.datasets.runs import Run, Runs, catalog_config, open_runs
from rsidiff_kedro.evaluation.settings import rounds_to_test
from rsidiff_kedro.hooks.configuration import merge, open_configuration
from rsidiff_kedro.hooks.dataset_options import options_in
from rsidiff_kedro.hooks.keyed_parameters import KeyedParameters, texts
from rsidiff_kedro.parameters import ParameterError, Parameters, parse_parameters
from rsidiff_kedro.provenance.code_digest import PACKAGE, assets_digest, library_versions
from rsidiff_kedro.provenance.content_digest import content_digest
from rsidiff_kedro.provenance.plugin_code import plugins_digest
from rsidiff_kedro.provenance.records import Record, changed_names, flat
from rsidiff_kedro.study.runs import Job, check_data
from rsidiff_kedro.study.settings import StudyError, StudySettings, nested
from rsidiff_kedro.study.tables import Tables, round_tables

_SHOWN = 3
"""Differences that a message names."""
_ALONE = threading.Lock()
"""Held while the configuration is read: what its files refer to is registered for the whole process."""


@dataclass(frozen=True)
class StudyJobs:
    """The runs of a study.

    Attributes:
        settings: the study's.
        root: the project's folder.
        folder: of the study's runs.
    """

    settings: StudySettings
    root: Path
    folder: Path

    def all(self) -> Iterator[Job]:
        """Yield each run, seed by seed, after its parameters are checked as `kedro run` checks them.

        Raises:
            InputError: they cannot be run.
        """
        code = _code(self.root)
        for seed in self.settings.seeds:
            for arm in self.settings.arms:
                yield self._job(arm, seed, code)

    def _job(self, name: str, seed: int, code: str) -> Job:
        arm, rounds = self.settings.arms[name], self.settings.rounds_of(name)
        parsed, changed, loader = self._parse(name, seed)
        check_data(loader["globals"]["data"])
        keyed = KeyedParameters(parsed, self.root).of_step({"parameters": parsed.model_dump()})["parameters"]
        content = {
            "parameters": keyed,
            "threads": parsed.execution.threads,  # on which training depends
            "tested": rounds_to_test(rounds, parsed.evaluation.test_every),
            "env": self.settings.env,
            "pipeline": arm.pipeline,
            "code": code,
            "catalog": _catalog(loader["catalog"]),
            **_from_elsewhere(keyed),
        }
        place = self.folder / name / f"seed_{seed}"
        return Job(name, seed, rounds, place, self.settings.env, changed, content, arm.pipeline)

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

    def check(self, job: Job) -> None:
        """Check that a run that begins, or has ended, is the one that was planned.

        Raises:
            StudyError: what decides its result has changed since, or cannot be read.
        """
        with _in_one_line(), _ALONE:
            now = self._job(job.arm, job.seed, _code(self.root))
        before, after = flat(job.content), flat(now.content)
        changed = [
            f"{name.removeprefix('parameters.')} is {after.get(name)}, was {before.get(name)}"
            for name in changed_names(before, after)
        ]
        if changed:
            raise StudyError(
                f"{'; '.join(changed[:_SHOWN])}: this changed since the study began, whose page would name what was; "
                "set it back, or leave it, and run the command again, which reuses what it can"
            )

    def find(self, job: Job) -> dict[str, tuple[str, Path]]:
        """Return the version and the file of each dataset of a run that may be measured, by its name.

        In each round they are those of the newest run in the folder that is the job's: another one may have been made
        there meanwhile, by hand.

        Raises:
            StudyError: there is none, or see `check`.
        """
        self.check(job)
        with _in_one_line():
            with _ALONE:
                parsed, _, loader = self._parse(job.arm, job.seed)
                runs = open_runs(job.folder, loader)
            return dict(_found(job, parsed, runs))

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
        with _in_one_line():
            config = catalog_config(job.folder, open_configuration(job.env)[1])
            run = Run("", finished=True, versions=versions, records=[], config=config)
            return list(self._tables(job, run))

    def _tables(self, job: Job, run: Run) -> Iterator[Tables]:
        for number, (name, datasets) in enumerate(_measured(job).items()):
            wanted = f"{name}.{self.settings.split}_scores"
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
    """Return the datasets of a run that may be measured, by round; fine-tuning on pairs is compared with round 0."""
    rounds = [f"{job.pipeline if number else 'rsi'}.round_{number}" for number in range(job.rounds + 1)]
    tested = {rounds[number] for number in job.content["tested"]}
    return {name: _datasets(name, tested=name in tested) for name in rounds}


def _datasets(name: str, tested: bool) -> list[str]:
    """Return the datasets of a round that may be measured."""
    return [f"{name}.metrics", f"{name}.validation_scores", *([f"{name}.test_scores"] if tested else [])]


def _found(job: Job, parsed: Parameters, runs: Runs) -> Iterator[tuple[str, tuple[str, Path]]]:
    for name, datasets in _measured(job).items():
        run = _run_of(job, parsed, runs, name, datasets)
        yield from ((each, (run.versions[each], run.path(each))) for each in datasets)


def _run_of(job: Job, parsed: Parameters, runs: Runs, name: str, datasets: Collection[str]) -> Run:
    """Return the newest run that came to its end, whose steps of a round have read the job's parameters.

    Raises:
        StudyError: there is none.
    """
    metrics = f"{name}.metrics"
    others: list[str] = []
    for run in runs.ended_with(metrics):
        differences = _differences(job, parsed, run.leading_to(metrics))
        if not differences and {*datasets} == {*_datasets(name, tested=True)} & run.versions.keys():
            return run
        others = others or differences or ["another evaluation.test_every"]
    said = f"the newest read {', '.join(others[:_SHOWN])}" if others else "there is none"
    raise StudyError(
        f"no run in {job.folder} that came to its end made {metrics} as the study says ({said}); leave conf/ and the "
        "folder as they are while it runs, and run the command again"
    )


def _differences(job: Job, parsed: Parameters, records: Collection[Record]) -> list[str]:
    """Say what the steps of a run read of the parameters, and of files that they name, that is not the job's.

    A step's parameters are keyed here as they were then. What the pipeline itself fixes has names of its own.
    """
    if not records:
        return ["what no record tells"]
    keyed, tree, found = KeyedParameters(parsed, job.folder), parsed.model_dump(), dict[str, str]()
    for read in {json.dumps(each.parameters, sort_keys=True): each.parameters for each in records}.values():
        plain = {name: _part(tree, name) for name in read if name.partition(".")[0] in tree}
        wanted = keyed.of_step(plain)
        other = [name for name in plain if read[name] not in (wanted[name], plain[name])]  # threads are keyed plain
        before, after = (flat({name: values[name] for name in other}) for values in (read, wanted))
        found |= {name: f"{name} {before.get(name)} for {after.get(name)}" for name in changed_names(before, after)}
    return sorted(found.values())


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
    beside = (PACKAGE / "cli", PACKAGE / "study")
    paths = sorted({*PACKAGE.rglob("*.py"), *(root.resolve() / "src").rglob("*.py")})
    parts = [content_digest(path) for path in paths if not any(map(path.is_relative_to, beside))]
    return sha256(" ".join([*parts, assets_digest()]).encode()).hexdigest()[:16]


def _from_elsewhere(parameters: Any) -> dict[str, Any]:
    """Return the versions of libraries, and a digest of the plug-ins that parameters name as `module:name`."""
    named = frozenset(texts(parameters))
    plugins = {text.partition(":")[0] for text in named if re.fullmatch(r"[\w.]+:\w+", text)}
    return {"libraries": library_versions(named), "plugins": plugins_digest(plugins) if plugins else None}


def _catalog(config: Mapping[str, Any]) -> str:
    """Return a digest of the catalog's options that decide what is loaded or saved."""
    options = {name: options_in(each) for name, each in config.items()}
    return sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]
