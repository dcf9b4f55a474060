"""Read options of the command line, and report wrong ones in one line, where Kedro itself ends in a traceback."""

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import click
import yaml
from kedro.framework.cli.utils import KedroCliError, validate_conf_source
from kedro.framework.project import settings
from kedro.runner import AbstractRunner
from kedro.utils import load_obj
from omegaconf.errors import OmegaConfBaseException

from rsidiff_kedro.cli.params import split_params
from rsidiff_kedro.cli.project import read_conf_of

PARSING = (yaml.YAMLError, OmegaConfBaseException, KedroCliError, KeyError, TypeError)


def check_arguments(run: click.Command) -> None:
    """Make Kedro's command `run` and its options report in one line what they cannot read."""
    for option in run.params:
        if option.name == "runner":
            option.callback = _existing_runner
        elif option.name == "params":
            option.callback = in_a_line(split_params)
        elif option.name == "load_versions":
            option.callback = in_a_line(_once_each(option.callback))
        elif option.callback is not None:
            option.callback = in_a_line(option.callback)
    refuse_repeats(run)
    if run.callback is not None:  # two options exclude each other; Kedro shows no message
        callback = _with_known_runner_params(run.callback)
        run.callback = in_a_line(callback, KedroCliError, click.UsageError, "give one of them")


def refuse_repeats(command: click.Command) -> None:
    """Make a command refuse an option that stands twice and holds one value, of which click takes the last."""
    parse = command.parse_args

    @wraps(parse)
    def parse_once(context: click.Context, args: list[str]) -> list[str]:
        _, _, order = command.make_parser(context).parse_args([*args])
        for option in order:
            if isinstance(option, click.Option) and not option.multiple and order.count(option) > 1:
                raise click.UsageError(
                    f"{option.opts[0]} is given {order.count(option)} times, and only the last would count; give it "
                    "once, with values separated by commas where it takes several",
                    context,
                )
        return parse(context, args)

    command.parse_args = parse_once  # type: ignore[method-assign, assignment]


def _once_each(callback: Any) -> Callable[..., Any]:
    """Make a callback of `--load-versions` refuse a dataset that is named twice."""

    @wraps(callback)
    def call(context: click.Context, option: click.Parameter, value: Any) -> Any:
        names = [item.partition(":")[0].strip() for item in value.split(",")] if isinstance(value, str) else []
        for name in names:
            if name and names.count(name) > 1:
                raise click.BadParameter(f"{name!r} is named twice; name one version of it", context, option)
        return callback(context, option, value)

    return call


def _with_known_runner_params(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Make the callback of `kedro run` refuse what `--runner-params` names and the runner does not take."""

    @wraps(callback)
    def call(**options: Any) -> Any:
        kind = load_obj(options.get("runner") or "SequentialRunner", "kedro.runner")
        taken = inspect.signature(kind).parameters.values()
        names = [each.name for each in taken]
        takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken)
        for name in options.get("runner_params") or {}:
            if name not in names and not takes_any:
                raise click.UsageError(
                    f"--runner-params names {name!r}, which {kind.__name__} does not take; name one of "
                    f"{', '.join(names)}, or leave the option out"
                )
        return callback(**options)

    return call


def in_a_line(
    callback: Callable[..., Any],
    errors: type[Exception] | tuple[type[Exception], ...] = PARSING,
    refusal: type[click.UsageError] = click.BadParameter,
    advice: str = "correct it (`kedro run --help`)",
) -> Callable[..., Any]:
    """Turn errors of a callback, by default the parsing errors of an option's, into click's."""

    @wraps(callback)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return callback(*args, **options)
        except errors as error:
            raise refusal(f"{' '.join(str(error).split())}; {advice}") from error

    return call


def _existing_runner(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    try:
        if name is None or issubclass(load_obj(name, "kedro.runner"), AbstractRunner):
            return name
    except (ImportError, AttributeError, ValueError, TypeError):  # no such module, no such name in it, or no class
        pass
    raise click.BadParameter(f"there is no runner {name!r}; correct the name, or leave --runner out", context, option)


def _read_conf_of(context: click.Context, option: click.Parameter, value: str) -> None:
    """Use the folder of configuration that is given until the command ends."""
    folder = validate_conf_source(context, option, value)
    if folder is not None:
        context.call_on_close(partial(read_conf_of, settings.CONF_SOURCE))
        read_conf_of(folder)


def env_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option `--env`, and `--conf-source`, which `open_configuration` follows."""
    text = "The folder of configuration in place of conf/, as in `kedro run`."
    command = click.option("--conf-source", callback=_read_conf_of, expose_value=False, help=text)(command)
    return click.option("--env", "-e", help="The configuration environment, as in `kedro run`: test, sd14, sd3, …")(
        command
    )


params_option = click.option(
    "--params", default="", callback=in_a_line(split_params), help="Parameters to change, as in `kedro run`."
)
