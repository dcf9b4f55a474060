"""Define the command `kedro rsi lineage`."""

import difflib

import click

from rsidiff_kedro.cli.arguments import env_option
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.hooks.configuration import open_configuration
from rsidiff_kedro.provenance.records import Records, chain, flat
from rsidiff_kedro.provenance.retention import RECORDS

TRAINING = "finetune"
"""The parameters that training steps read, whose values are shown of each step of the chain."""


@click.command()
@click.argument("dataset")
@env_option
@click.option("--version", help="Version of the dataset; by default the newest that is recorded.")
def lineage(dataset: str, env: str | None, version: str | None) -> None:
    """Show what made a DATASET, such as rsi.round_2.adapter, back to the prompts."""
    root, loader = open_configuration(env)
    records = Records(root / loader["globals"]["data"] / RECORDS).all()
    made = [each for each in records if dataset in each.outputs and version in (None, each.version)]
    if not made:
        known = sorted({name for each in records for name in each.outputs})
        near = difflib.get_close_matches(dataset, known, n=3, cutoff=0.5) or known[-3:]
        raise click.UsageError(f"nothing is recorded of {dataset!r}; {f'try {near}' if known else 'run the pipeline'}")
    for each in chain(records, made[-1]):
        step, code, device = map(printable, (each.step, each.code, each.device))
        click.echo(f"{step}  version {each.version}  key {each.key}  code {code}  on {device}")
        shown = each is made[-1] or TRAINING in each.parameters
        for name, value in flat(each.parameters).items() if shown else ():
            click.echo(f"    {printable(f'{name} = {value}')}")
        for name, digest in each.inputs.items():
            click.echo(f"    {printable(f'from {name} version {each.origins.get(name)} (content {digest})')}")
    click.echo(printable("Libraries: " + ", ".join(f"{name} {number}" for name, number in made[-1].libraries.items())))
