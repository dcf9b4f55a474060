"""Commands that compute nothing start without the libraries that compute, and runs are planned without most of them."""

import subprocess
import sys
from pathlib import Path

import pytest

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
