"""Add `kedro rsi …` to Kedro's commands. A command's module, and with it torch, is imported when it is called."""

import ast
from functools import cache
from pathlib import Path

import click
from kedro.framework.cli.project import run
from kedro.utils import load_obj

from rsidiff_kedro.cli.arguments import check_arguments, refuse_repeats
from rsidiff_kedro.cli.project import enter_project, log_as_configured
from rsidiff_kedro.core.terminal import tolerate_any_text

__all__ = ["cli", "rsidiff", "run"]
MODULES = {
    "compare": "compare",
    "doctor": "doctor",
    "export": "export",
    "families": "plugins",
    "init": "init",
    "label": "label",
    "lineage": "lineage",
    "plan": "plan",
    "prompts": "prompt_report",
    "prune": "disk",
    "rewards": "plugins",
    "runs": "disk",
    "sample": "sample",
    "score": "score",
    "site": "site",
    "study": "study",
    "ui": "ui",
}
check_arguments(run)
tolerate_any_text()
log_as_configured()


class _Group(click.Group):
    """A group of commands in `MODULES`; its `commands` have their names only."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _load(cmd_name) if cmd_name in self.commands else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with the first sentences of their docstrings, which are read without importing torch."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(MODULES[name], name)) for name in self.commands])


@cache
def _load(name: str) -> click.Command:
    command: click.Command = load_obj(f"rsidiff_kedro.cli.{MODULES[name]}.{name}")
    refuse_repeats(command)
    return command


def _summary(module: str, name: str) -> str:
    tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
    function = next(each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name == name)
    return (ast.get_docstring(function) or "").partition("\n\n")[0].replace("\n", " ")


@click.group(name="rsidiff_kedro")
def cli() -> None:
    """Collect the commands for Kedro."""


@cli.group(cls=_Group, commands={name: None for name in MODULES if name != "init"})
def rsi() -> None:
    """Recursive self-improvement of diffusion models."""


@click.group(cls=_Group, commands=dict.fromkeys(MODULES))
@click.pass_context
def rsidiff(context: click.Context) -> None:
    """Recursive self-improvement of diffusion models. All but `init` are the commands of `kedro rsi`."""
    if context.invoked_subcommand != "init":
        enter_project()
