"""Runs the method and naive self-training (all strategies off), the gate off, and compares them on the test prompts.

    python benchmarks/compare_naive.py --rounds 6 --seeds 0

Prints one table in Markdown; each arm is a whole `kedro run` of its own (some minutes a seed on two cores).
"""

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd

from rsidiff_kedro.statistics.bootstrap import bootstrap_mean, paired_difference

ROOT = Path(__file__).resolve().parents[1]
SWITCHES = ("prompt_curation.enabled", "preference_selection.enabled", "weighting.enabled")


def run_arm(rounds: int, seed: int, naive: bool) -> list[pd.DataFrame]:
    """Run one arm and give back the per-image test table of each round."""
    params = [f"rounds={rounds}", f"seed={seed}", "evaluation.gate.enabled=false"]
    params += [f"{name}=false" for name in SWITCHES] if naive else []
    command = [sys.executable, "-m", "kedro", "run", "--pipeline=rsi", f"--params={','.join(params)}"]
    subprocess.run(command, cwd=ROOT, check=True)
    return [latest(round_number) for round_number in range(rounds + 1)]


def latest(round_number: int) -> pd.DataFrame:
    """The newest version of a round's per-image test table."""
    folder = ROOT / "data" / "07_model_output" / "rsi" / f"round_{round_number}" / "test_scores.parquet"
    version = max(folder.iterdir(), key=lambda path: path.name)
    table = pd.read_parquet(version / folder.name)
    return table.sort_values(["prompt_id", "sample_index"], ignore_index=True)


def main() -> None:
    """Run both arms for each seed and print what came out."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=6)
    options.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = options.parse_args()
    lines = ["| seed | arm | " + " | ".join(f"round {n}" for n in range(given.rounds + 1)) + " | last minus base |"]
    lines.append("|" + " --- |" * (given.rounds + 4))
    for seed in given.seeds:
        for naive in (False, True):
            tables = run_arm(given.rounds, seed, naive)
            accuracy = [bootstrap_mean(t["correct"].astype(float), t["prompt_id"], 1000, seed) for t in tables]
            first, last = (tables[index]["correct"].astype(float) for index in (0, -1))
            gain = paired_difference(last, first, tables[0]["prompt_id"], 1000, seed)
            cells = [f"{value.mean:.3f}" for value in accuracy]
            change = f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
            lines.append(f"| {seed} | {'naive' if naive else 'method'} | {' | '.join(cells)} | {change} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
