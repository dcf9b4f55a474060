"""Define the command `kedro rsi site`."""

from pathlib import Path
from typing import Any

import click

from rsidiff_kedro.cli.arguments import env_option, params_option
from rsidiff_kedro.cli.project import in_one_line
from rsidiff_kedro.hooks.configuration import open_configuration


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path("build"))
@env_option
@params_option
@in_one_line
def site(folder: Path, env: str | None, params: dict[str, Any]) -> None:
    """Write Kedro-Viz with previews of the newest run, and its report, as files that any web server shows.

    FOLDER is build/ by default. Of an earlier page in it, the page's own files are replaced; all others stay.
    """
    from rsidiff_kedro.cli.viz import write_site
    from rsidiff_kedro.datasets.runs import open_runs

    root, loader = open_configuration(env, params)
    run = open_runs(root, loader).newest()
    write_site(folder, root, env, params, run.path("report") if run.finished else None)
    click.echo(f"Wrote {folder}, of the run {run.version}. Browsers refuse to open it as a file; look at it with")
    click.echo(f"  python -m http.server --directory {folder}      # http://127.0.0.1:8000")
