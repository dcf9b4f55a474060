"""Commands beside Kedro's own: `kedro rsi doctor`, `kedro rsi lineage`."""

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

    records = open_records(env)
    made = [each for each in records.all() if dataset in each.outputs and version in (None, each.version)]
    if not made:
        known = sorted({name for each in records.all() for name in each.outputs})
        near = difflib.get_close_matches(dataset, known, n=3, cutoff=0.5) or known[-3:]
        raise click.UsageError(f"nothing is recorded of {dataset!r}; {f'try {near}' if known else 'run the pipeline'}")
    for number, each in enumerate(chain(records, made[-1])):
        click.echo(f"{each.step}  version {each.version}  key {each.key}  code {each.code}  on {each.device}")
        for name, value in flat(each.parameters).items() if number == 0 else ():
            click.echo(f"    {name} = {value}")
        for name, key in each.inputs.items():
            click.echo(f"    from {name} ({key})")
    click.echo("Libraries: " + ", ".join(f"{name} {number}" for name, number in made[-1].libraries.items()))
