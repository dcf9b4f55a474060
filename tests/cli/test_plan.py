"""`kedro rsi plan` measures how long a run would take."""

import re
from pathlib import Path

from click.testing import CliRunner

from rsidiff_kedro.cli import cli


def test_the_time_comes_from_a_probe_that_writes_nothing(project: Path) -> None:
    result = CliRunner().invoke(cli, ["rsi", "plan", "--env=test"])
    assert result.exit_code == 0, result.output
    assert re.search(r"Time: about [\d.]+ (s|min \d\d s|h \d\d min) of generating and training; scoring", result.output)
    assert "Plan: 2 rounds on " in result.output
    assert not (project / "data").exists()


def test_a_wrong_model_is_said_in_one_line(project: Path) -> None:
    result = CliRunner().invoke(cli, ["rsi", "plan", "--params=model.base=/no/such/folder"])
    assert result.exit_code == 1 and result.output.startswith("Error: model.base: there is no folder")
