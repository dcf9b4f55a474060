"""Open what is on disk of the project in the working directory, and report what is wrong in one line."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click
from kedro.io import DatasetError

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.hooks.configuration import open_configuration

if TYPE_CHECKING:
    from rsidiff_kedro.datasets.runs import Runs
    from rsidiff_kedro.parameters import Parameters


def in_one_line(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn errors that a user can fix into click's, which ends the command with one line."""

    @wraps(command)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except (InputError, DatasetError, OSError) as error:
            raise click.ClickException(printable(str(error))) from error

    return call


def open_project(env: str | None, params: dict[str, Any]) -> "tuple[Parameters, Runs]":
    """Return the parameters as a run would have them, and the runs on disk."""
    from rsidiff_kedro.datasets.runs import open_runs
    from rsidiff_kedro.parameters import parse_parameters

    root, loader = open_configuration(env, params)
    parameters = parse_parameters(loader["parameters"]).within(root)
    return parameters, open_runs(root, loader)
