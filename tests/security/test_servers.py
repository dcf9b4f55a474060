"""The servers of `make ui` listen on this machine alone, and keep the protection that they have."""

import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("program", ["mlflow ui", "kedro viz run"])
def test_a_server_listens_on_this_machine_alone(program: str) -> None:
    command = ["make", "--dry-run", "ui"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=True)
    (line,) = [line for line in done.stdout.splitlines() if f"/{program} " in line]
    words = shlex.split(line.removesuffix("\\"))
    assert words[words.index("--host") + 1] == "127.0.0.1"
    weakening = {"--disable-security-middleware", "--allowed-hosts", "--cors-allowed-origins", "--x-frame-options"}
    assert not weakening & {*words}
