"""Measure how long commands that compute nothing take: python benchmarks/start_up.py

Prints the median and the range of the CPU seconds of each command, in a project with one finished run of the
environment `test`, which it makes first unless --project names one: commands that answer, resuming the finished
run, and a run of a hundred rounds up to its first step, when it is planned.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from recomputed_steps import copy_project

QUIET = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
RUN = "run --env=test --pipelines=rsi --params=rounds="
COMMANDS = ("rsi --help", "rsi runs --env=test", "rsi lineage rsi.round_1.adapter --env=test", "rsi plan --env=test")
"""The last imports torch, as every command that computes; it is the measure of the others."""
RESUMED, PLANNED = f"{RUN}1 --only-missing-outputs", f"{RUN}100 --only-missing-outputs"


def main() -> None:
    """Measure the commands one after the other, so many times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--project", type=Path, help="a project with a finished run of the environment `test`")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = given.project
        if project is None:
            project = copy_project(Path(folder) / "project")
            kedro(project, f"{RUN}1")
        found: dict[str, list[float]] = {command: [] for command in (*COMMANDS, RESUMED, PLANNED)}
        for _ in range(given.times):
            for command in (*COMMANDS, RESUMED):
                found[command].append(kedro(project, command))
            found[PLANNED].append(plan(project, PLANNED))
    sys.stdout.write("| command | CPU seconds, median | range |\n| --- | --- | --- |\n")
    for command, seconds in found.items():
        spread = f"{min(seconds):.1f} to {max(seconds):.1f}"
        what = " up to its first step" if command == PLANNED else ""
        sys.stdout.write(f"| `kedro {command}`{what} | {statistics.median(seconds):.1f} | {spread} |\n")


def kedro(project: Path, words: str) -> float:
    """Run a command, and return its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "kedro", *words.split()]
    subprocess.run(command, cwd=project, env=os.environ | QUIET, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def plan(project: Path, words: str) -> float:
    """Run a command until it says how many steps are reused, and return its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "kedro", *words.split()]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "encoding": "utf-8"}
    with subprocess.Popen(command, cwd=project, env=os.environ | QUIET, **pipes) as process:
        if not any("steps are reused" in line for line in process.stdout or ()):
            raise SystemExit(f"kedro {words} did not say how many steps are reused")
        process.kill()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
