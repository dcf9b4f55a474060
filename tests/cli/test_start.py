"""Commands that compute nothing start without the libraries that compute, and runs are planned without most of them."""

import logging.config
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.framework.project import LOGGING

from rsidiff_kedro.cli.project import log_as_configured

HEAVY = ("torch", "diffusers", "transformers")
SCRIPT = """
import sys
from pathlib import Path
from click.testing import CliRunner
from kedro.framework.cli.cli import KedroCLI
result = CliRunner().invoke(KedroCLI(Path.cwd()), sys.argv[1:])
print(result.output, [name for name in {heavy!r} if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rsi", "--help"], "lineage"),
        (["rsi", "runs"], "0 runs"),
        (["rsi", "lineage", "rsi.round_1.adapter"], "nothing is recorded"),
    ],
)
def test_the_command_line_starts_without_torch(project: Path, words: list[str], said: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT.format(heavy=HEAVY), *words]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    assert said in done.stdout
    assert done.stdout.strip().endswith("[]")


PLANNING = """
import sys
from kedro.framework.startup import bootstrap_project
from kedro.framework.project import pipelines, settings
from pathlib import Path
bootstrap_project(Path.cwd())
hooks, nodes = [*settings.HOOKS], pipelines["rsi"].nodes
print([name for name in {heavy!r} if name in sys.modules])
"""


def test_a_run_is_planned_without_the_libraries_that_only_compute(project: Path) -> None:
    heavy = ("diffusers", "transformers", "peft", "sklearn", "scipy", "mlflow", "matplotlib")
    command = [sys.executable, "-W", "ignore", "-c", PLANNING.format(heavy=heavy)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_run_that_reuses_every_step_does_without_the_libraries_that_compute(finished_project: Path) -> None:
    heavy = ("torch", "diffusers", "transformers", "peft", "sklearn")
    words = ["run", "--env=test", "--pipelines=rsi", "--only-missing-outputs"]
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT.format(heavy=heavy), *words]
    done = subprocess.run(command, cwd=finished_project, capture_output=True, text=True, check=True)
    assert "MLflow and Kedro-Viz" in done.stdout
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize(("below", "variable", "used"), [("", None, 0), ("a/b", None, 1), ("a/b", "my.yml", 0)])
def test_below_the_project_too_its_own_logging_counts(
    project: Path, monkeypatch: pytest.MonkeyPatch, below: str, variable: str | None, used: int
) -> None:
    (project / below).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(project / below)
    monkeypatch.delenv("KEDRO_LOGGING_CONFIG", raising=False)
    if variable:
        monkeypatch.setenv("KEDRO_LOGGING_CONFIG", variable)
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(LOGGING, "configure", given.append)
    log_as_configured()
    assert [each["loggers"]["rsidiff_kedro"]["level"] for each in given] == ["INFO"] * used


@pytest.mark.parametrize(
    ("name", "folder"), [("logging.yml", "logs"), ("logging.yaml", "logs"), ("logging.yml", "gone")]
)
def test_below_the_project_its_log_file_lies_in_it_and_a_wrong_one_is_told(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, folder: str
) -> None:
    (project / "conf" / "logging.yml").unlink(missing_ok=True)
    handler = {"class": "logging.FileHandler", "filename": f"{folder}/info.log"}
    settings = {"version": 1, "disable_existing_loggers": False, "handlers": {"of_a_test": handler}}
    (project / "conf" / name).write_text(yaml.safe_dump(settings), encoding="utf-8")
    for each in ("logs", "notebooks"):
        (project / each).mkdir(exist_ok=True)
    monkeypatch.chdir(project / "notebooks")
    monkeypatch.delenv("KEDRO_LOGGING_CONFIG", raising=False)
    monkeypatch.setattr(LOGGING, "configure", logging.config.dictConfig)
    log_as_configured()
    assert (project / "logs" / "info.log").exists() is (folder == "logs")
    assert ("gone/info.log" in capsys.readouterr().err) is (folder == "gone")
    assert not list((project / "notebooks").iterdir())
