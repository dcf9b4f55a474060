"""Commands beside Kedro's own: `kedro rsi doctor`."""

import sys
from typing import Any

import click
from kedro.framework.cli.project import run
from kedro.framework.cli.utils import _split_params

__all__ = ["cli", "run"]


@click.group(name="rsidiff_kedro")
def cli() -> None:
    """What Kedro collects."""


@cli.group()
def rsi() -> None:
    """Recursive self-improvement of diffusion models."""


@rsi.command()
@click.option("--env", "-e", help="The configuration environment, as of `kedro run`: base, test, sd14, sd3, …")
@click.option(
    "--params", default="", callback=_split_params, help="Parameters to change, as of `kedro run`: rounds=3,seed=1"
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
