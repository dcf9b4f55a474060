"""Commands beside Kedro's own: `kedro rsi …`. Each module has one group of commands and imports what it needs late."""

import click
from kedro.framework.cli.project import run

from rsidiff_kedro.cli.arguments import check_arguments
from rsidiff_kedro.cli.disk import prune, runs
from rsidiff_kedro.cli.doctor import doctor
from rsidiff_kedro.cli.lineage import lineage
from rsidiff_kedro.cli.prompt_report import prompts

__all__ = ["cli", "run"]
check_arguments(run)


@click.group(name="rsidiff_kedro")
def cli() -> None:
    """Collect the commands for Kedro."""


@cli.group()
def rsi() -> None:
    """Recursive self-improvement of diffusion models."""


for command in (doctor, lineage, runs, prune, prompts):
    rsi.add_command(command)
