"""Commands beside Kedro's own: `kedro rsi doctor`, `lineage`, `runs` and `prune`."""

import difflib
import sys
from typing import Any

import click
from kedro.framework.cli.project import run
from kedro.framework.cli.utils import _split_params

from rsidiff_kedro.arguments import check_arguments, in_a_line

__all__ = ["cli", "run"]
check_arguments(run)


@click.group(name="rsidiff_kedro")
def cli() -> None:
    """What Kedro collects."""


@cli.group()
def rsi() -> None:
    """Recursive self-improvement of diffusion models."""


@rsi.command()
@click.option("--env", "-e", help="The configuration environment, as of `kedro run`: base, test, sd14, sd3, …")
@click.option(
    "--params",
    default="",
    callback=in_a_line(_split_params),
    help="Parameters to change, as of `kedro run`: rounds=3,seed=1",
)
def doctor(env: str | None, params: dict[str, Any]) -> None:
    """Say what a run would lack: packages, parameters, prompts, weights, disk, device memory. Computes nothing.

    Exits with 1 if something is missing.
    """
    from rsidiff_kedro.doctor import examine

    findings = examine(env, params)
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        mark = click.style("ok     ", fg="green") if finding.fine else click.style("MISSING", fg="red")
        click.echo(f"{mark}  {finding.subject:<{width}}  {finding.text}")
    missing = sum(not finding.fine for finding in findings)
    click.echo(f"\n{missing} missing" if missing else "\nNothing is missing.")
    sys.exit(1 if missing else 0)


@rsi.command()
@click.argument("dataset")
@click.option("--env", "-e", help="The configuration environment, as of `kedro run`.")
@click.option("--version", help="Of the dataset; by default the newest that is recorded.")
def lineage(dataset: str, env: str | None, version: str | None) -> None:
    """Show what made a DATASET, such as rsi.round_2.adapter, back to the prompts."""
    from rsidiff_kedro.hooks.lineage import open_records
    from rsidiff_kedro.lineage.records import chain, flat
    from rsidiff_kedro.untrusted.text import printable

    records = open_records(env)
    made = [each for each in records.all() if dataset in each.outputs and version in (None, each.version)]
    if not made:
        known = sorted({name for each in records.all() for name in each.outputs})
        near = difflib.get_close_matches(dataset, known, n=3, cutoff=0.5) or known[-3:]
        raise click.UsageError(f"nothing is recorded of {dataset!r}; {f'try {near}' if known else 'run the pipeline'}")
    for number, each in enumerate(chain(records, made[-1])):
        step, code, device = map(printable, (each.step, each.code, each.device))
        click.echo(f"{step}  version {each.version}  key {each.key}  code {code}  on {device}")
        for name, value in flat(each.parameters).items() if number == 0 else ():
            click.echo(f"    {printable(f'{name} = {value}')}")
        for name, key in each.inputs.items():
            click.echo(f"    {printable(f'from {name} ({key})')}")
    click.echo(printable("Libraries: " + ", ".join(f"{name} {number}" for name, number in made[-1].libraries.items())))


@rsi.command()
@click.option("--env", "-e", help="The configuration environment, as of `kedro run`.")
def runs(env: str | None) -> None:
    """List the runs on disk: how far each came, and what it takes."""
    from rsidiff_kedro.retention import Disk

    found = Disk(env).runs()
    click.echo(
        f"{'run':24}  {'state':8}  {'rounds':>6}  {'images':>9}  {'adapters':>9}  {'other':>9}  {'unfinished':>10}"
    )
    for use in found:
        sizes = (_megabytes(size) for size in (use.images, use.adapters, use.other))
        columns = "  ".join(f"{size:>9}" for size in sizes)
        click.echo(f"{use.version:24}  {use.state:8}  {use.rounds:>6}  {columns}  {_megabytes(use.unfinished):>10}")
    total = sum(use.images + use.adapters + use.other + use.unfinished for use in found)
    click.echo(f"{len(found)} runs, {_megabytes(total)}. What a run goes on from stands with the run that made it.")


@rsi.command()
@click.option("--env", "-e", help="The configuration environment, as of `kedro run`.")
@click.option("--params", default="", callback=_split_params, help="The rules: keep.runs=3,keep.rounds=2")
@click.option("--delete", is_flag=True, help="Delete what is listed; without this nothing is deleted.")
def prune(env: str | None, params: dict[str, Any], delete: bool) -> None:
    """List images and adapters of old runs and rounds that the rules of `keep` let go; delete them with --delete.

    Tables, metrics and records stay. What a later run needs of it is made again.
    """
    from rsidiff_kedro.configuration import open_configuration
    from rsidiff_kedro.parameters import parse_parameters
    from rsidiff_kedro.retention import Disk

    try:
        keep = parse_parameters(open_configuration(env, params)[1]["parameters"]).keep
    except ValueError as error:
        raise click.UsageError(" ".join(str(error).split())) from error
    disk = Disk(env)
    if delete and disk.active():
        raise click.ClickException(f"run {disk.active()[0]} is going on; wait for its end, it may need what would go")
    found = disk.prunable(keep)
    for each in found:
        click.echo(f"{_megabytes(each.size):>9}  {each.path.relative_to(disk.data)}: {each.reason}")
        if delete:
            each.delete()
    total = _megabytes(sum(each.size for each in found))
    if not found:
        click.echo(
            "Nothing to delete; the rules are keep.runs and keep.rounds, as in --params keep.runs=3,keep.rounds=2"
        )
    elif delete:
        click.echo(f"Deleted: {total}")
    else:
        click.echo(f"Nothing was deleted; --delete deletes these {total}")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
