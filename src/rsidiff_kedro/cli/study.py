"""Define the command `kedro rsi study`."""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rsidiff_kedro.cli.project import in_one_line
from rsidiff_kedro.hooks.configuration import merge, open_configuration

if TYPE_CHECKING:
    from rsidiff_kedro.parameters import Parameters
    from rsidiff_kedro.study.runs import Job
    from rsidiff_kedro.study.settings import StudySettings
    from rsidiff_kedro.study.tables import Tables

FOLDER = Path("data") / "study"


@click.command()
@click.argument("path", metavar="FILE.yml", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="List the runs, and which are done; run nothing.")
@click.option("--only-page", is_flag=True, help="Write the page again from the tables; run nothing.")
@click.option("--tables", type=click.Path(path_type=Path, file_okay=False), help="Folder of the tables to write.")
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False), help="Markdown page to write.")
@in_one_line
def study(path: Path, dry_run: bool, only_page: bool, tables: Path | None, page: Path | None) -> None:
    """Run variants of the method over several seeds, and write tables and a page of what differs.

    FILE.yml names the arms and the seeds (docs/commands.md). The runs lie in data/study/<study>/<arm>/seed_<n>, the
    tables and results.md in data/study/<study>. What is done is not run again, and what was killed continues.
    """
    from rsidiff_kedro.study.page import check_page, write_page
    from rsidiff_kedro.study.runs import run_jobs, run_project
    from rsidiff_kedro.study.settings import read_study
    from rsidiff_kedro.study.tables import check_tables, joined, load_tables

    settings, (root, _) = read_study(path), open_configuration()
    folder = root / FOLDER / path.stem
    tables, page = tables or folder / "tables", page or folder / "results.md"
    if only_page:
        write_page(page, path.stem, settings, load_tables(tables))
        click.echo(f"Page: {page}")
        return
    jobs = list(_jobs(settings, root, folder))
    if dry_run:
        _list(jobs)
        return
    check_tables(tables)
    check_page(page)
    stopped = threading.Event()
    failed = run_jobs(jobs, run_project(root, click.echo, stopped), settings.workers, click.echo, stopped)
    measured = [each for job in jobs if job not in failed for each in _measured(job, settings)]
    if measured:
        found = joined(measured)
        found.save(tables)
        write_page(page, path.stem, settings, found)
        click.echo(f"Tables: {tables}\nPage: {page}")
    if failed:
        raise click.ClickException(
            f"{len(failed)} of {len(jobs)} runs failed ({', '.join(job.name for job in failed)}); correct what their "
            "logs say, and run the command again: it continues them"
        )


def _jobs(settings: "StudySettings", root: Path, folder: Path) -> "Iterator[Job]":
    """Yield each run, seed by seed, after its parameters are checked as `kedro run` checks them."""
    from rsidiff_kedro.hooks.keyed_parameters import KeyedParameters
    from rsidiff_kedro.parameters import ParameterError
    from rsidiff_kedro.study.runs import Job, check_data
    from rsidiff_kedro.study.settings import StudyError, nested

    code = _code(root)
    for seed in settings.seeds:
        for name, arm in settings.arms.items():
            rounds = settings.rounds_of(name)
            params = {**nested(arm.params, name), "rounds": rounds, "seed": seed}
            try:
                parsed, changed, loader = _parse(settings.env, params, root)
            except ParameterError as error:
                raise StudyError(f"arm {name!r}: {error}") from error
            check_data(loader["globals"]["data"])
            keyed = KeyedParameters(parsed, root).of_step({"parameters": parsed.model_dump()})["parameters"]
            content = {"parameters": keyed, "env": settings.env, "pipeline": arm.pipeline, "code": code}
            content["catalog"] = _catalog(loader["catalog"])
            content |= _from_elsewhere(keyed)
            place = folder / name / f"seed_{seed}"
            yield Job(name, seed, rounds, place, settings.env, changed, content, arm.pipeline)


def _parse(env: str | None, params: dict[str, Any], root: Path) -> "tuple[Parameters, dict[str, Any], Any]":
    """Return an arm's parameters, those that its runs get, with paths that are absolute, and the configuration."""
    from rsidiff_kedro.parameters import parse_parameters

    _, loader = open_configuration(env, params)
    given = parse_parameters(loader["parameters"])
    placed = given.within(root)
    return placed, merge(params, _moved(given.model_dump(mode="json"), placed.model_dump(mode="json"))), loader


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
    from hashlib import sha256

    from rsidiff_kedro.provenance.code_digest import PACKAGE, assets_digest
    from rsidiff_kedro.provenance.content_digest import content_digest

    beside = (PACKAGE / "cli", PACKAGE / "study")
    paths = sorted({*PACKAGE.rglob("*.py"), *(root.resolve() / "src").rglob("*.py")})
    parts = [content_digest(path) for path in paths if not any(map(path.is_relative_to, beside))]
    return sha256(" ".join([*parts, assets_digest()]).encode()).hexdigest()[:16]


def _from_elsewhere(parameters: Any) -> dict[str, Any]:
    """Return the versions of libraries, and a digest of the plug-ins that parameters name as `module:name`."""
    from rsidiff_kedro.hooks.keyed_parameters import texts
    from rsidiff_kedro.provenance.code_digest import library_versions
    from rsidiff_kedro.provenance.plugin_code import plugins_digest

    named = frozenset(texts(parameters))
    plugins = {text.partition(":")[0] for text in named if re.fullmatch(r"[\w.]+:\w+", text)}
    return {"libraries": library_versions(named), "plugins": plugins_digest(plugins) if plugins else None}


def _catalog(config: Mapping[str, Any]) -> str:
    """Return a digest of the catalog's options that decide what is loaded or saved."""
    from hashlib import sha256

    from rsidiff_kedro.hooks.dataset_options import options_in

    options = {name: options_in(each) for name, each in config.items()}
    return sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]


def _list(jobs: "list[Job]") -> None:
    for job in jobs:
        state = "done" if job.is_done else "begun" if (job.folder / "data").exists() else "to run"
        click.echo(f"{job.name}: {state}, {job.rounds} rounds, {job.folder}")
    click.echo(f"{sum(job.is_done for job in jobs)} of {len(jobs)} runs are done")


def _measured(job: "Job", settings: "StudySettings") -> "Iterator[Tables]":
    """Yield the tables of each tested round of a run."""
    from rsidiff_kedro.datasets.runs import open_runs
    from rsidiff_kedro.study.tables import round_tables

    runs = open_runs(job.folder, open_configuration(job.env)[1])
    for number in range(job.rounds + 1):
        name = f"{job.pipeline if number else 'rsi'}.round_{number}"
        run = runs.last(f"{name}.metrics")
        if f"{name}.{settings.split}_scores" in run.versions:
            scores, metrics = run.load(f"{name}.{settings.split}_scores"), run.load(f"{name}.metrics")
            rewards = [each for each in scores.attrs["rewards"] if each in scores]
            yield round_tables(job.arm, job.seed, number, scores, rewards, metrics)
