"""Define the command `rsidiff init`, which makes a project where the package is installed and no clone is."""

import shlex
from pathlib import Path

import click
import kedro

from rsidiff_kedro.cli.project import PACKAGE, in_one_line
from rsidiff_kedro.core.default_configuration import CONF
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.untrusted.text import printable

OWN = "local"
"""The environment of one machine, whose files stay out of git and of the package."""
FILES = {
    "pyproject.toml": f"""[tool.kedro]
package_name = "{PACKAGE}"
project_name = "{PACKAGE}"
kedro_init_version = "{kedro.__version__}"
source_dir = "src"
""",
    ".telemetry": "consent: false\n",
    ".gitignore": """__pycache__/
.ipynb_checkpoints/
.viz/
/build/
/conf/local/*
!/conf/local/.gitkeep
/data/*
!/data/.gitkeep
/mlflow.db*
/mlartifacts/
/mlruns/
/sample*.png
info.log
""",
    "README.md": """# A project of rsidiff_kedro

    kedro run --env=test                           # the whole graph at small sizes, a minute or two
    kedro run --pipeline=rsi --params rounds=6     # six rounds on the embedded model
    rsidiff doctor --env=sd14                      # what a run with Stable Diffusion 1.4 would lack
    rsidiff --help                                 # what to do with a finished run

`conf/` has every setting with its unit, `data/` what runs make, and `src/` is for your own code, such as a reward
`my_rewards:my_reward` in `src/my_rewards.py`. Settings of this machine alone go to `conf/local/`.
""",
    f"conf/{OWN}/.gitkeep": "",
    "data/.gitkeep": "",
    "src/.gitkeep": "",
}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@in_one_line
def init(folder: Path) -> None:
    """Make a project in FOLDER, new or empty: the default configuration, and places for data and your own code."""
    _check_folder(folder)
    for name, content in _contents().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    click.echo(f"Made a project in {printable(str(folder))}. Next:\n")
    if folder.resolve() != Path.cwd():
        click.echo(f"    cd {shlex.quote(printable(str(folder)))}")
    click.echo("    kedro run --env=test     # the whole graph at small sizes; README.md has more")


def _check_folder(folder: Path) -> None:
    """Raise InputError unless the folder is new or empty, and Kedro could work in it."""
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; name a new or an empty folder")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a new or an empty folder")
    if {"{", "}"} & set(str(folder.resolve())):
        raise InputError(f"{folder.resolve()} holds a brace, which Kedro's catalog takes for a pattern; name another")
    if not CONF.is_dir():
        raise InputError(f"the package has no default configuration at {CONF}; install {PACKAGE} again")


def _contents() -> dict[str, bytes]:
    """Return a project's files by their paths; the settings of this machine are left out."""
    found = {path.relative_to(CONF): path for path in sorted(CONF.rglob("*")) if path.is_file()}
    conf = {f"conf/{name.as_posix()}": path.read_bytes() for name, path in found.items() if name.parts[0] != OWN}
    return conf | {name: text.encode() for name, text in FILES.items()}
