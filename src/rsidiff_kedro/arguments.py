"""What `kedro run` is given by name, checked where Kedro itself would end in a traceback or say nothing."""

import click
import kedro.runner
from kedro.framework.cli.utils import _split_load_versions
from kedro.runner import AbstractRunner
from kedro.utils import load_obj


def check_arguments(run: click.Command) -> None:
    """Have the command's options refuse what does not exist; it stays Kedro's own command."""
    for option in run.params:
        if option.name == "runner":
            option.callback = _existing_runner
        elif option.name == "load_versions":
            option.callback = _load_versions


def _existing_runner(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    try:
        if name is None or issubclass(load_obj(name, "kedro.runner"), AbstractRunner):
            return name
    except (ImportError, AttributeError, ValueError, TypeError):  # no module, no such name in it, no class
        pass
    there = ", ".join(sorted(set(kedro.runner.__all__) - {"AbstractRunner", "Task"}))
    raise click.BadParameter(f"there is no runner {name!r}; there are {there}", context, option)


def _load_versions(context: click.Context, option: click.Parameter, text: str) -> dict[str, str]:
    lacking = [part for part in text.split(",") if part.strip() and not part.partition(":")[2]]
    if lacking:
        raise click.BadParameter(
            f"{lacking[0]!r} has no version; write dataset:version, such as "
            "rsi.round_1.adapter:2026-01-31T12.00.00.000Z",
            context,
            option,
        )
    versions: dict[str, str] = _split_load_versions(context, option, text)
    return versions
