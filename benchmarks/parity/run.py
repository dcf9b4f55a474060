"""Holds our scores to the official packages' on the same random checkpoints, images and prompts: `make parity`.

Both sides run as processes of their own, one after the other, each in its environment. Ends with exit code 1 if a
score differs by more than its bound.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BOUNDS = {"hpsv2_1": 1e-5, "image_reward": 2e-5}
"""The largest difference that is accepted, float32 on the CPU."""


def main() -> None:
    """Make, score twice, compare and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["small", "full", "all"], default="small")
    parser.add_argument("--official", type=Path, required=True, help="python of the official packages' environment")
    parser.add_argument("--folder", type=Path, required=True, help="where checkpoints and scores are put")
    parser.add_argument(
        "--bert", type=Path, help="BERT's own vocab.txt; otherwise both sides get 30,522 made-up entries"
    )
    parser.add_argument("--save", type=Path, help="a JSON file to write the official scores to (the golden values)")
    arguments = parser.parse_args()
    if not arguments.official.exists():
        parser.error(f"there is no {arguments.official}; `make parity` builds the environment")
    if arguments.bert is not None and not arguments.bert.is_file():
        parser.error(f"there is no {arguments.bert}; give BERT's vocab.txt (uncased)")
    rows, passed = ["| model | size | pairs | scores | largest difference | bound |", "|---|---|---|---|---|---|"], True
    for size in ["small", "full"] if arguments.size == "all" else [arguments.size]:
        folder = arguments.folder / size
        folder.mkdir(parents=True, exist_ok=True)
        ours, theirs = score(size, folder, arguments.official.absolute(), arguments.bert)
        for name, bound in BOUNDS.items():
            difference = max(abs(one - other) for one, other in zip(ours[name], theirs[name], strict=True))
            passed = passed and difference <= bound  # which NaN is not
            spread = f"{min(theirs[name]):.3f} to {max(theirs[name]):.3f}"
            rows.append(f"| {name} | {size} | {len(ours[name])} | {spread} | {difference:.1e} | {bound:.0e} |")
        if arguments.save is not None and size == "small":
            arguments.save.write_text(json.dumps(theirs, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(rows) + "\n")
    sys.exit(0 if passed else 1)


def score(
    size: str, folder: Path, official: Path, bert: Path | None
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Our scores and the official ones."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

    def run(*command: object) -> None:
        subprocess.run([str(part) for part in command], check=True, env=environment, stdout=sys.stderr)

    run(official, HERE / "official.py", "make", size, folder)
    if bert is not None:
        shutil.copy(bert, folder / "bert_tokenizer" / "vocab.txt")
    run(official, HERE / "official.py", "score", size, folder)
    run(sys.executable, HERE / "native.py", "score", folder)
    return tuple(json.loads((folder / f"{side}.json").read_text(encoding="utf-8")) for side in ("native", "official"))  # type: ignore


if __name__ == "__main__":
    main()
