"""CPU time of the official packages beside ours: python benchmarks/reward_speed.py --official … --folder …

Full-size random models, 16 images of 512 pixels, 4 or 16 prompts, float32 on the CPU, each side a process of its own.
Needs what `make parity SIZE=full` has built. CPU seconds are user and system time of the whole process, all threads,
so that other processes on the machine disturb them little; opening the models (imports, reading the checkpoint,
hpsv2's at each call) is a column of its own.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

PARITY = Path(__file__).resolve().parent / "parity"
CASES = (("hpsv2_1", 4, 4.0), ("image_reward", 4, 2.0), ("image_reward", 16, 3.0))
"""Model, prompts, and how many times less CPU time is asked for."""


def main() -> None:
    """Time both sides, print a Markdown table, and end with exit code 1 if we are slower than is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, required=True, help="python of the official packages' environment")
    parser.add_argument("--folder", type=Path, required=True, help="the folder `full` of the parity check")
    parser.add_argument("--size", choices=["small", "full"], default="full")
    arguments = parser.parse_args()
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    sys.stdout.write(
        "| model | images x prompts | official: opening | scoring | ours: opening | scoring "
        "| times less, whole process | scoring alone | largest difference |\n|---|---|---|---|---|---|---|---|---|\n"
    )
    fast = True
    for name, prompts, wanted in CASES:
        rest = [name, str(prompts)]
        official = [arguments.official.absolute(), PARITY / "official.py", "time", arguments.size, arguments.folder]
        native = [sys.executable, PARITY / "native.py", "time", arguments.folder]
        for command in (official, native):
            subprocess.run([*map(str, command), *rest], check=True, env=environment, stdout=sys.stderr)
        sides = [
            json.loads((arguments.folder / f"{side}_time.json").read_text(encoding="utf-8"))
            for side in ("official", "native")
        ]
        difference = max(abs(one - other) for one, other in zip(*[side["scores"] for side in sides], strict=True))
        columns = [f"{x:.0f} s" for side in sides for x in (side["loading"], side["total"] - side["loading"])]
        ratio = sides[0]["total"] / sides[1]["total"]
        alone = (sides[0]["total"] - sides[0]["loading"]) / (sides[1]["total"] - sides[1]["loading"])
        fast = fast and ratio >= wanted
        sys.stdout.write(
            f"| {name} | 16 x {prompts} | {' | '.join(columns)} | {ratio:.1f} (asked for {wanted:.0f}) | {alone:.1f} "
            f"| {difference:.1e} |\n"
        )
        sys.stdout.flush()
    sys.exit(0 if fast else 1)


if __name__ == "__main__":
    main()
