"""Commands that compute nothing start without the libraries that compute."""

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
