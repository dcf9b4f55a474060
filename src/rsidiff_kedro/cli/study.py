"""Define the command `kedro rsi study`."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rsidiff_kedro.cli.project import in_one_line
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.hooks.configuration import open_configuration

if TYPE_CHECKING:
    from rsidiff_kedro.study.runs import Job

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
    from rsidiff_kedro.cli.study_jobs import StudyJobs
    from rsidiff_kedro.study.page import check_page, write_page
    from rsidiff_kedro.study.runs import check_owner, own, run_jobs, run_project
    from rsidiff_kedro.study.settings import read_study
    from rsidiff_kedro.study.tables import check_tables, joined, load_tables

    settings, (root, loader) = read_study(path), open_configuration()
    settings = settings.model_copy(update={"env": settings.env or loader.env})  # as KEDRO_ENV says
    folder = root / FOLDER / path.stem
    if not only_page or None in (tables, page):
        check_owner(folder, path, root)
    tables, page = tables or folder / "tables", page or folder / "results.md"
    if only_page:
        write_page(page, path.stem, settings, load_tables(tables))
        click.echo(f"Page: {page}")
        return
    planned = StudyJobs(settings, root, folder, click.echo)
    jobs = list(planned.all())
    waiting = [job for job in jobs if not planned.is_done(job)]
    if dry_run:
        _list(jobs, waiting)
        return
    check_tables(tables)
    check_page(page)
    if waiting:  # else others may read what they cannot write
        own(folder, path, root)
    stopped = threading.Event()
    run = run_project(root, planned.begin, click.echo, stopped)
    failed = run_jobs(waiting, run, planned.find, settings.workers, click.echo, stopped)
    measured = []
    for job in (job for job in jobs if job not in failed):
        try:
            measured += planned.measured(job)
        except (InputError, OSError) as error:
            failed.append(job)
            click.echo(f"{job.name}: FAILED, {printable(str(error))}")
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


def _list(jobs: "list[Job]", waiting: "list[Job]") -> None:
    for job in jobs:
        state = "done" if job not in waiting else "begun" if (job.folder / "data").exists() else "to run"
        click.echo(f"{job.name}: {state}, {job.rounds} rounds, {job.folder}")
    click.echo(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are done")
