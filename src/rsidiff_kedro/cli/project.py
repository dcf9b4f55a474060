"""Open what is on disk of the project in the working directory, and report what is wrong in one line."""

import os
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from copy import deepcopy
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml
from kedro.config import MissingConfigException
from kedro.framework.context.context import _convert_paths_to_absolute_posix
from kedro.framework.project import LOGGING, configure_project, settings
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog, DatasetError
from kedro.utils import find_kedro_project
from safetensors import SafetensorError

import rsidiff_kedro
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.untrusted.loading import reason
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.hooks.configuration import open_configuration
from rsidiff_kedro.hooks.failures import disk_fault, is_out_of_memory

if TYPE_CHECKING:
    from rsidiff_kedro.datasets.runs import Runs
    from rsidiff_kedro.parameters import Parameters

PACKAGE = rsidiff_kedro.__name__


def in_one_line(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn errors that a user can fix into click's, which ends the command with one line."""

    @wraps(command)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except (ValueError, OSError, RuntimeError, MemoryError, SafetensorError, DatasetError) as error:
            said = _said(error)
            if said is None:
                raise
            raise click.ClickException(printable(said)) from error

    return call


def _said(error: Exception) -> str | None:
    """Return what a user can do about an error, or what it says of the input; None if it is another error.

    Click ends a command without a word whose reader, such as `head`, has read enough.
    """
    if isinstance(error, BrokenPipeError):
        return None
    if is_out_of_memory(error):
        return (
            f"memory ran out ({reason(error)}); end what else uses it, or lower sampler.micro_batch_size, "
            "finetune.micro_batch_size or model.resolution"
        )
    return disk_fault(error, go_on="") or (
        str(error) if isinstance(error, (InputError, DatasetError, OSError)) else None
    )


def log_as_configured() -> None:
    """Log as the project's conf/logging.yml says in a folder below it too, where Kedro does not look for that."""
    root = find_kedro_project(Path.cwd())
    if root in (None, Path.cwd()) or "KEDRO_LOGGING_CONFIG" in os.environ:
        return
    for path in (root / "conf" / "logging.yml", root / "conf" / "logging.yaml"):
        if not path.is_file():
            continue
        try:
            with chdir(root):  # where files that its handlers write lie
                LOGGING.configure(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, AttributeError, OSError, yaml.YAMLError) as error:
            said = printable(str(error.__cause__ or error))
            click.echo(f"{path} cannot be used ({said}), so Kedro's own settings count", err=True)
        return


def enter_project() -> None:
    """Do as `kedro` does before a command: let the project around the working directory, if any, be imported from.

    Raises:
        click.UsageError: it is a project of another package, or its pyproject.toml is broken.
    """
    root = find_kedro_project(Path.cwd())
    if root is None:
        configure_project(PACKAGE)
        return
    path = root / "pyproject.toml"
    try:
        package = tomllib.loads(path.read_text(encoding="utf-8"))["tool"]["kedro"]["package_name"]
        if package == PACKAGE:
            bootstrap_project(root)
    except (RuntimeError, ValueError, OSError, KeyError, TypeError) as error:
        raise click.UsageError(f"{path} cannot be used ({printable(str(error))}); correct it") from error
    if package != PACKAGE:
        raise click.UsageError(
            f"the project {root} is one of the package {package!r}; go to a project of {PACKAGE}, or make one with "
            "`rsidiff init my_project`"
        )


def rewards_to_show(parameters: "Parameters", names: Sequence[str]) -> list[str]:
    """Return the rewards that are named or, without any, those of a run.

    Raises:
        PluginError: one is unknown.
        InputError: two of them are one file.
    """
    from pydantic import TypeAdapter

    from rsidiff_kedro.rewards.protocol import RewardName
    from rsidiff_kedro.rewards.registry import REWARDS, check_settings

    selection = parameters.preference_selection
    used = [*selection.rewards, *selection.floors, *parameters.evaluation.rewards]
    chosen = list(dict.fromkeys(TypeAdapter(list[RewardName]).validate_python([*names] or used)))
    for name in chosen:
        REWARDS.path(name)
    check_settings(chosen, parameters.rewards)
    return chosen


def read_conf_of(folder: str) -> None:
    """Have Kedro's settings name a folder in place of the project's conf/, also when Kedro-Viz reads them again."""
    if f"{PACKAGE}.settings" not in sys.modules:
        configure_project(PACKAGE)  # imports them
    vars(sys.modules[f"{PACKAGE}.settings"])["CONF_SOURCE"] = folder
    settings.set("CONF_SOURCE", folder)


def open_catalog(root: Path, loader: Mapping[str, Any]) -> DataCatalog:
    """Return the catalog of the project in a folder, as Kedro makes it for a run; its datasets are made when asked for.

    Raises:
        InputError: an entry names credentials that do not exist.
    """
    entries = _convert_paths_to_absolute_posix(root, deepcopy(dict(loader["catalog"])))
    try:
        credentials = loader["credentials"]
    except MissingConfigException:
        credentials = {}
    try:
        return DataCatalog.from_config(entries, credentials)
    except KeyError as error:
        raise InputError(str(error.args[0])) from error


def open_project(env: str | None, params: dict[str, Any]) -> "tuple[Parameters, Runs]":
    """Return the parameters as a run would have them, and the runs on disk."""
    from rsidiff_kedro.datasets.runs import open_runs
    from rsidiff_kedro.parameters import parse_parameters

    root, loader = open_configuration(env, params)
    parameters = parse_parameters(loader["parameters"]).within(root)
    return parameters, open_runs(root, loader)
