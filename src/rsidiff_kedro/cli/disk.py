"""Define the commands `kedro rsi runs` and `kedro rsi prune`."""

from collections.abc import Callable
from typing import Any

import click

from rsidiff_kedro.cli.arguments import env_option, params_option
from rsidiff_kedro.cli.project import in_one_line
from rsidiff_kedro.core.files import size_text
from rsidiff_kedro.hooks.configuration import open_configuration
from rsidiff_kedro.pipelines import finals
from rsidiff_kedro.provenance.retention import Disk

_ROW = "{:24}  {:8}  {:>6}" + 3 * "  {:>9}" + "  {:>10}"
_SIZES = ("images", "adapters", "other", "unfinished")


@click.command()
@env_option
def runs(env: str | None) -> None:
    """List the runs on disk, how far each came, and their sizes."""
    found = _open_disk(env).runs()
    click.echo(_ROW.format("run", "state", "rounds", *_SIZES))
    for use in found:
        click.echo(_ROW.format(use.version, use.state, use.rounds, *(size_text(use.sizes[kind]) for kind in _SIZES)))
    total = size_text(sum(use.sizes.total() for use in found))
    click.echo(f"{len(found)} runs, {total}. Reused outputs are counted under the run that produced them.")
    for use in found:
        for holder in use.doubts:
            click.echo(f"{use.version} is made by {holder}.")


@click.command()
@env_option
@params_option
@click.option("--delete", is_flag=True, help="Delete the listed files; without this nothing is deleted.")
@in_one_line
def prune(env: str | None, params: dict[str, Any], delete: bool) -> None:
    """List images and adapters of old runs and rounds that the rules of `keep` give up; delete them with --delete.

    The rules: --params keep.runs=3,keep.rounds=2. Tables, metrics and records stay. A later run that needs a deleted
    artifact makes it again.
    """
    from rsidiff_kedro.parameters import parse_parameters

    try:
        keep = parse_parameters(open_configuration(env, params)[1]["parameters"]).keep
    except ValueError as error:
        raise click.UsageError(" ".join(str(error).split())) from error
    disk = _open_disk(env)
    active = disk.active() if delete else {}
    if active:
        version, holder = next(iter(active.items()))
        raise click.ClickException(
            f"run {version} is active and may need these files; wait until it ends; it is made by {holder}"
        )
    found, kept = disk.deletable(keep, *_open_catalog(env)), []
    for each in found if delete else ():  # before anything is said: the reader may leave, as `head` does
        try:
            each.delete()
        except OSError as error:
            kept.append(f"{each.path} cannot be deleted ({error}){'; make it writable' if error.errno else ''}")
    for each in found:
        place = each.path.relative_to(disk.data) if each.path.is_relative_to(disk.data) else each.path
        click.echo(f"{size_text(each.size):>9}  {place}: {each.reason}")
    if kept:
        more = f" So it is with {len(kept) - 1} more." if len(kept) > 1 else ""
        raise click.ClickException(f"{kept[0]}.{more} The other {len(found) - len(kept)} are deleted")
    total = size_text(sum(each.size for each in found))
    if not found:
        click.echo(
            "Nothing to delete; the rules are keep.runs and keep.rounds, as in --params keep.runs=3,keep.rounds=2"
        )
    else:
        click.echo(f"Deleted: {total}" if delete else f"Nothing was deleted; --delete deletes these {total}")


def _open_disk(env: str | None) -> Disk:
    """Open the data folder of the project in the working directory, under an environment."""

    root, loader = open_configuration(env)
    return Disk(root / loader["globals"]["data"], finals())


def _open_catalog(env: str | None) -> tuple[Callable[[str], object], set[str]]:
    """Return what finds a dataset by its name, and the names of those whose large files may be deleted."""
    from kedro.io import DataCatalog

    from rsidiff_kedro.datasets.runs import catalog_config
    from rsidiff_kedro.pipelines import stages

    own = catalog_config(*open_configuration(env))
    return DataCatalog.from_config(own).get, {name for stage in stages() for name in stage.prunable}
