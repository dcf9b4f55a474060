"""Runs `kedro` in a project's folder, in this process or in one of its own, and gives what a user would see."""

import logging.config
import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner
from kedro.framework.cli.cli import KedroCLI
from kedro_process import KedroProcess

ROOT = Path(__file__).parents[3]
LIMIT = 120
"""Seconds that a process may take; it takes less than ten."""


@dataclass(frozen=True)
class Outcome:
    """A command's exit code, and what it wrote to both of its streams."""

    code: int
    output: str

    @property
    def message(self) -> str:
        """What was said of the error in one line, without what click puts before it."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
        return errors[-1] if errors else " ".join(lines)


class _Kedro(KedroCLI):
    """The command line with log lines going where the runner looks."""

    def main(self, *args: Any, **options: Any) -> Any:
        _configure_logging()
        return super().main(*args, **options)


def _configure_logging() -> None:
    logging.config.dictConfig(yaml.safe_load((ROOT / "conf" / "logging.yml").read_text()))


def in_this_process(project: Path, arguments: tuple[str, ...]) -> Outcome:
    """Run it through click's runner; the project's folder is the working directory."""
    result = CliRunner().invoke(_Kedro(project), list(arguments))
    _configure_logging()
    unexpected = result.exception is not None and not isinstance(result.exception, SystemExit)
    shown = "".join(traceback.format_exception(*result.exc_info)) if unexpected and result.exc_info else ""
    return Outcome(result.exit_code, result.output + shown)


def in_its_own_process(project: Path, arguments: tuple[str, ...]) -> Outcome:
    """Run it as a user does."""
    with KedroProcess(project, arguments, os.environ) as process:
        output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode is not None
    return Outcome(process.returncode, output)
