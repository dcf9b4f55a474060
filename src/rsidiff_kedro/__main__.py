"""Start without `kedro`: `python -m rsidiff_kedro` is `kedro run`; `rsidiff` has `kedro rsi` and `init`."""

import os
import sys
from pathlib import Path
from typing import Any


def main(*args: Any, **kwargs: Any) -> Any:
    """Run the pipeline; the arguments are those of `kedro run`."""
    _quiet()
    from kedro.framework.cli.utils import find_run_command
    from kedro.framework.project import configure_project

    package_name = Path(__file__).parent.name
    configure_project(package_name)
    kwargs["standalone_mode"] = not hasattr(sys, "ps1")
    return find_run_command(package_name)(*args, **kwargs)


def rsidiff() -> None:
    """Run a command of `kedro rsi`, or `init`, which makes a project."""
    _quiet()
    from rsidiff_kedro import cli

    cli.rsidiff(prog_name="rsidiff")


def _quiet() -> None:
    """Log as conf/logging.yml says where no project does; Kedro reads this variable when it is imported."""
    from rsidiff_kedro.core.default_configuration import CONF

    if not Path("conf/logging.yml").is_file():
        os.environ.setdefault("KEDRO_LOGGING_CONFIG", str(CONF / "logging.yml"))


if __name__ == "__main__":
    main()
