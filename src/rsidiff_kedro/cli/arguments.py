"""Options of the command line: report wrong ones in one line, where Kedro itself would end in a traceback."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click
import yaml
from kedro.framework.cli.utils import KedroCliError, _split_params
from kedro.runner import AbstractRunner
from kedro.utils import load_obj
from omegaconf.errors import OmegaConfBaseException

Callback = Callable[[click.Context, click.Parameter, Any], Any]


def check_arguments(run: click.Command) -> None:
    """Make Kedro's own command and its options report in one line what they cannot read."""
    for option in run.params:
        if option.name == "runner":
            option.callback = _existing_runner
        elif option.callback is not None:
            option.callback = in_a_line(option.callback)
    if run.callback is not None:
        run.callback = _usage(run.callback)


def in_a_line(callback: Callback) -> Callback:
    """Turn the parsing errors of an option's callback into click's."""

    @wraps(callback)
    def parse(context: click.Context, option: click.Parameter, value: Any) -> Any:
        try:
            return callback(context, option, value)
        except (yaml.YAMLError, OmegaConfBaseException, KedroCliError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise click.BadParameter(f"{reason}; correct it (`kedro run --help`)", context, option) from error

    return parse


def _usage(callback: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(callback)
    def run(*args: Any, **options: Any) -> Any:
        try:
            return callback(*args, **options)
        except KedroCliError as error:  # of options that exclude each other; Kedro shows no message
            raise click.UsageError(f"{error}; give one of them") from error

    return run


def _existing_runner(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    try:
        if name is None or issubclass(load_obj(name, "kedro.runner"), AbstractRunner):
            return name
    except (ImportError, AttributeError, ValueError, TypeError):  # no module, no such name in it, no class
        pass
    raise click.BadParameter(f"there is no runner {name!r}; leave --runner out", context, option)


env_option = click.option("--env", "-e", help="The configuration environment, as in `kedro run`: test, sd14, sd3, …")
params_option = click.option(
    "--params", default="", callback=in_a_line(_split_params), help="Parameters to change, as in `kedro run`."
)
