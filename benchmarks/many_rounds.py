"""Run 30 rounds in the environment `test`; list time, memory and open files of each, which must not grow.

    python benchmarks/many_rounds.py            # writes docs/many-rounds.md, some ten minutes of two cores

The process is read from outside (/proc, Linux only): a round ends when its metrics are saved.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from recomputed_steps import ROOT, copy_project

POLL = 0.1
"""Seconds between two looks at the process."""


@dataclass(frozen=True)
class Round:
    """Cost of a round: CPU seconds, the most memory seen (bytes), and open files at its end."""

    seconds: float
    memory: int
    files: int


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--table", type=Path, default=ROOT / "docs" / "many-rounds.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rounds = run(copy_project(Path(folder) / "project"), given.rounds)
    given.table.write_text(page(rounds), encoding="utf-8")


def run(project: Path, count: int) -> list[Round]:
    """Run this many rounds and return their costs."""
    environment = os.environ | {"PYTHONPATH": str(project / "src"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "kedro", "run", "--env=test", f"--params=rounds={count}"]
    found: list[Round] = []
    with (project / "log.txt").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=subprocess.STDOUT)
        metrics = project / "data" / "test" / "08_reporting" / "rsi"
        began, most = 0.0, 0
        while len(found) < count and process.poll() is None:
            time.sleep(POLL)
            most = max(most, memory_of(process.pid))
            done = sum(any(metrics.glob(f"round_{number}/metrics.json/*Z/metrics.json")) for number in range(count + 1))
            if done and not began:  # round 0, which trains nothing, is not listed
                began, most = cpu_seconds(process.pid), 0
            if done > len(found) + 1:
                now = cpu_seconds(process.pid)
                found.append(Round(now - began, most, len(os.listdir(f"/proc/{process.pid}/fd"))))
                print(len(found), found[-1], flush=True)  # noqa: T201
                began, most = now, 0
    if process.wait():
        raise SystemExit((project / "log.txt").read_text(encoding="utf-8")[-2000:])
    return found


def cpu_seconds(process: int) -> float:
    """Return the CPU time of a running process, which other work on the machine changes little."""
    after_name = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(process: int) -> int:
    """Return the resident memory of a process; 0 once it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def page(rounds: list[Round]) -> str:
    """Write the page: a summary of the first and the last third, then all rounds."""
    third = max(len(rounds) // 3, 1)
    rows = [
        f"| {number} | {each.seconds:.1f} | {each.memory / 1e6:.0f} | {each.files} |"
        for number, each in enumerate(rounds, 1)
    ]
    return (
        f"# {len(rounds)} rounds in the environment `test`\n\nMade by `make many-rounds` ({date.today()}), one thread. "
        "Medians of the first and of the last third:\n\n| rounds | CPU seconds per round | memory, MB | open files |\n"
        f"| --- | --- | --- | --- |\n{_medians(f'first {third}', rounds[:third])}\n"
        f"{_medians(f'last {third}', rounds[-third:])}\n\n"
        "Memory is the most that was resident during the round.\n\n"
        "| round | CPU seconds | memory, MB | open files |\n| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"
    )


def _medians(name: str, rounds: list[Round]) -> str:
    seconds, memory, files = (
        statistics.median(getattr(each, field) for each in rounds) for field in ("seconds", "memory", "files")
    )
    return f"| {name} | {seconds:.1f} | {memory / 1e6:.0f} | {files:.0f} |"


if __name__ == "__main__":
    main()
