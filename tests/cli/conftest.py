"""The commands of `kedro rsi`, run in a project with a finished run."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

from rsidiff_kedro.cli import cli


@pytest.fixture
def rsi(finished_project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return `rsi("sample", "a red circle")`, which runs a command on the finished run of conf/test."""
    monkeypatch.chdir(finished_project)
    monkeypatch.setenv("KEDRO_ENV", "test")
    bootstrap_project(finished_project)

    def call(*arguments: str | Path) -> Result:
        return CliRunner().invoke(cli, ["rsi", *map(str, arguments)])

    return call
