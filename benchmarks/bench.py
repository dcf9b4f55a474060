"""Run the benchmarks of speed and write docs/benchmarks.md: `make bench`, some 20 minutes of two quiet cores."""

import argparse
import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = {
    "The parts of a round": "stages.py",
    "A round beside the same work in plain diffusers and peft": "plain_round.py",
    "The same, sampling by ONNX Runtime": "plain_round.py --runtime onnxruntime --pairs 2",
    "The same, with early dropping": "plain_round.py --drop-after 4 --pairs 3",
    "The same, ours in bfloat16": "plain_round.py --dtype bfloat16 --pairs 3",
    "The same, ours in bfloat16 and with early dropping": "plain_round.py --dtype bfloat16 --drop-after 4 --pairs 5",
    "Attention's passes in training": "attention_backward.py",
    "Generation": "sampling_rate.py",
    "Early dropping": "early_dropping.py",
    "Two workers of Ray beside one process": "ray_speed.py --images 256 --repeats 3",
    "Start of the command line": "start_up.py --times 3",
    "What would gain little, and is not done": "small_gains.py",
}
"""Sections of the page, and the scripts that print them."""


def main() -> None:
    """Run the parts one after the other, on one thread each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks.md")
    given = parser.parse_args()
    machine = f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}"
    text = f"# Benchmarks\n\nMade by `make bench` on {date.today()} ({machine}; one thread per process).\n"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    for title, words in PARTS.items():
        script, *arguments = words.split()
        command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True, text=True, encoding="utf-8"
        )
        text += f"\n## {title}\n\n`python benchmarks/{words}`:\n\n{done.stdout}"
        given.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
