"""Commands about the disk: `kedro rsi runs` and `kedro rsi prune`."""

from typing import TYPE_CHECKING, Any

import click

from rsidiff_kedro.cli.arguments import env_option, params_option

if TYPE_CHECKING:
    from rsidiff_kedro.provenance.retention import Disk


@click.command()
@env_option
def runs(env: str | None) -> None:
    """List the runs on disk: how far each came, and what it takes."""
    found = _open_disk(env).runs()
    click.echo(
        f"{'run':24}  {'state':8}  {'rounds':>6}  {'images':>9}  {'adapters':>9}  {'other':>9}  {'unfinished':>10}"
    )
    for use in found:
        sizes = (_megabytes(size) for size in (use.images, use.adapters, use.other))
        columns = "  ".join(f"{size:>9}" for size in sizes)
        click.echo(f"{use.version:24}  {use.state:8}  {use.rounds:>6}  {columns}  {_megabytes(use.unfinished):>10}")
    total = sum(use.images + use.adapters + use.other + use.unfinished for use in found)
    click.echo(f"{len(found)} runs, {_megabytes(total)}. Reused outputs are counted under the run that produced them.")


@click.command()
@env_option
@params_option
@click.option("--delete", is_flag=True, help="Delete what is listed; without this nothing is deleted.")
def prune(env: str | None, params: dict[str, Any], delete: bool) -> None:
    """List images and adapters of old runs and rounds that the rules of `keep` give up; delete them with --delete.

    The rules: --params keep.runs=3,keep.rounds=2. Tables, metrics and records stay. A later run that needs a deleted
    artifact makes it again.
    """
    from rsidiff_kedro.hooks.configuration import open_configuration
    from rsidiff_kedro.parameters import parse_parameters

    try:
        keep = parse_parameters(open_configuration(env, params)[1]["parameters"]).keep
    except ValueError as error:
        raise click.UsageError(" ".join(str(error).split())) from error
    disk = _open_disk(env)
    if delete and disk.active():
        raise click.ClickException(f"run {disk.active()[0]} is active and may need these files; wait until it ends")
    found = disk.deletable(keep)
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


def _open_disk(env: str | None) -> "Disk":
    """Open the data folder of the project in the working directory, under an environment."""
    from kedro.io import DataCatalog, DatasetNotFoundError

    from rsidiff_kedro.datasets.folder import FolderDataset
    from rsidiff_kedro.hooks.configuration import open_configuration
    from rsidiff_kedro.pipelines import stages
    from rsidiff_kedro.provenance.records import Records
    from rsidiff_kedro.provenance.retention import RECORDS, Disk

    root, loader = open_configuration(env)
    data = root / loader["globals"]["data"]
    own = {name: each for name, each in loader["catalog"].items() if each["type"].startswith("rsidiff_kedro.")}
    absolute = {name: each | {"filepath": (root / each["filepath"]).as_posix()} for name, each in own.items()}
    catalog, datasets = DataCatalog.from_config(absolute), {}
    for name in {name for record in Records(data / RECORDS).all() for name in record.outputs}:
        try:
            dataset = catalog.get(name)
        except DatasetNotFoundError:
            continue
        if isinstance(dataset, FolderDataset) and dataset.large_files:
            datasets[name] = dataset
    prunable = {name for stage in stages() for name in stage.prunable}
    return Disk(data, datasets, prunable, {stage.final for stage in stages() if stage.final})


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
