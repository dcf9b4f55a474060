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
    "A round beside the same work in plain diffusers and peft": "plain_round.py --pairs 3",
    "The same, sampling by ONNX Runtime": "plain_round.py --runtime onnxruntime --pairs 2",
    "The same, with early dropping": "plain_round.py --drop-after 4 --pairs 2",
    "The same, ours in bfloat16": "plain_round.py --dtype bfloat16 --pairs 2",
    "The same, ours in bfloat16 and with early dropping": "plain_round.py --dtype bfloat16 --drop-after 4 --pairs 3",
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
    parser.add_argument("--only", help="run the sections whose script's name begins so, and keep the page's others")
    given = parser.parse_args()
    machine = f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}"
    head = f"# Benchmarks\n\nMade by `make bench` ({machine}; one thread per process).\n"
    kept = sections(given.page) if given.only else {}
    for title, words in PARTS.items():
        if not given.only or words.startswith(given.only):
            kept[title] = section(words)
            given.page.write_text(
                head + "".join(f"\n## {each}\n\n{kept[each]}" for each in PARTS if each in kept), "utf-8"
            )


def section(words: str) -> str:
    """Run a script; return its command, the date and what it prints."""
    script, *arguments = words.split()
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True, text=True, encoding="utf-8"
    )
    return f"`python benchmarks/{words}` on {date.today()}:\n\n{done.stdout}"


def sections(page: Path) -> dict[str, str]:
    """Return the texts of a page's sections by their titles."""
    _, *parts = page.read_text(encoding="utf-8").split("\n## ")
    return {title: text for title, _, text in (part.partition("\n\n") for part in parts)}


if __name__ == "__main__":
    main()
