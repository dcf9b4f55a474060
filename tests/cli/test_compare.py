"""`kedro rsi compare` puts two runs side by side."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result

from rsidiff_kedro.cli.compare import side_of
from rsidiff_kedro.cli.project import open_project

Rsi = Callable[..., Result]


@pytest.fixture
def version(finished_project: Path) -> str:
    """The version of the finished run."""
    (path,) = finished_project.glob("data/test/08_reporting/report.html/*")
    return path.name


def test_a_run_equals_itself(rsi: Rsi, version: str) -> None:
    result = rsi("compare", version, version)
    assert result.exit_code == 0, result.output
    assert "No parameter that the steps read differs." in result.output
    assert "6 test prompts, 12 images, paired by prompt and noise" in result.output
    assert "reward proxy (selects)" in result.output and "no clear change" in result.output


def test_rounds_can_be_named(rsi: Rsi, version: str) -> None:
    assert f"A: run {version}, round 1 of 2\n" in rsi("compare", version, version, "--round=1").output


def test_a_reward_whose_code_was_edited_between_two_runs_is_left_out(
    rsi: Rsi, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = [side_of(open_project("test", {})[1].find(version), "best")]
    assert {"proxy", "scenes"} <= sides[0].code.keys()
    sides.append(replace(sides[0], code={**sides[0].code, "proxy": "edited"}))
    monkeypatch.setattr("rsidiff_kedro.cli.compare.side_of", lambda run, name: sides.pop())
    output = rsi("compare", version, version).output
    assert "Left out, because the two runs measured by different functions: proxy (code)\n" in output
    assert "reward proxy" not in output and "prompt accuracy" in output


def test_an_unknown_run_is_refused_with_those_that_exist(rsi: Rsi, version: str) -> None:
    result = rsi("compare", "1999", version)
    assert result.exit_code == 1 and result.output.startswith("Error: 0 runs are named '1999'; name one of: ")
