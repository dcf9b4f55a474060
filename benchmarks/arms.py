"""Runs arms of an experiment, each a whole `kedro run` in a folder of its own, and gathers what they measured.

An arm is a name and the parameters in which it differs from the default environment. What has run with the same
parameters, `conf/` and code is not run again, and a killed arm continues. Arms run side by side, one thread each.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from rsidiff_kedro.evaluation.intervals import Interval
from rsidiff_kedro.evaluation.judging import judge_readable
from rsidiff_kedro.provenance.code_digest import PACKAGE, assets_digest
from rsidiff_kedro.provenance.content_digest import content_digest

ROOT = Path(__file__).resolve().parents[1]
STUDY = ROOT / "data" / "study"
NO_SELECTION = {"preference_selection.enabled": "false", "preference_selection.keep_per_prompt": "3"}
"""Random samples, as many per prompt as preference selection keeps on average, rounded."""
ALL_OFF = {"prompt_curation.enabled": "false", **NO_SELECTION, "weighting.enabled": "false"}
ORACLE = {
    "preference_selection.rewards.proxy": "0",
    "preference_selection.rewards.oracle": "1",
    "preference_selection.max_gap": "0",
}
"""Selects by the judge itself, the samples that it grades best: a diagnostic that shows the ceiling."""


@dataclass(frozen=True)
class Arm:
    """A name, the number of rounds, and the parameters in which it differs from the default environment."""

    name: str
    rounds: int
    params: dict[str, str]

    def folder(self, seed: int) -> Path:
        """Return the folder of the run with this seed."""
        return STUDY / f"{self.name}_{self.rounds}_seed{seed}"

    def command_line(self, seed: int) -> str:
        """The value of `--params`."""
        return ",".join(
            f"{key}={value}" for key, value in ({"rounds": self.rounds, "seed": seed} | self.params).items()
        )


def run_arms(arms: Iterable[Arm], seeds: Sequence[int], workers: int = 2) -> None:
    """Run every arm with every seed that has not run yet."""
    jobs = [(arm, seed) for seed in seeds for arm in arms]
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda job: _run(*job), jobs))


def _run(arm: Arm, seed: int) -> None:
    folder, params = arm.folder(seed), arm.command_line(seed)
    done, what = folder / "done.txt", f"{params}\n{_project_digest()}"
    if done.exists() and done.read_text(encoding="utf-8") == what:
        return
    (folder / "src").mkdir(parents=True, exist_ok=True)
    for name in ("conf", "pyproject.toml", ".telemetry"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "kedro", "run", "--pipeline=rsi", f"--params={params}", "--only-missing-outputs"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, check=True)
    done.write_text(what, encoding="utf-8")


@cache
def _project_digest() -> str:
    """Return a digest of what a run reads beside its parameters: `conf/`, the code, and the networks that it ships."""
    conf = [content_digest(ROOT / "conf" / name) for name in ("base", "scenes", "local")]
    code = [content_digest(path) for path in sorted(PACKAGE.rglob("*.py"))]
    return f"{sha256(' '.join([*conf, *code]).encode()).hexdigest()[:16]} {assets_digest()}"


def newest(folder: Path, dataset: str) -> Path:
    """The newest version of a dataset of a run, by its path below `data/`."""
    path = folder / "data" / dataset
    return max(path.iterdir(), key=lambda version: version.name) / path.name


def evaluation(arm: Arm, seeds: Sequence[int], split: str) -> pd.DataFrame:
    """The judge's table of every evaluated image: arm, seed, round, prompt_id, sample_index, correct, and the rest."""
    tables = []
    for seed in seeds:
        for number in range(arm.rounds + 1):
            table = pd.read_parquet(
                newest(arm.folder(seed), f"07_model_output/rsi/round_{number}/{split}_scores.parquet")
            )
            tables.append(table.assign(arm=arm.name, seed=seed, round=number))
    return pd.concat(tables, ignore_index=True)


def training_samples(arm: Arm, seeds: Sequence[int]) -> pd.DataFrame:
    """Every sample that preference selection kept, with its weight and what the judge says of it.

    What the judge cannot read, a prompt that is no caption of the grammar, is counted as not right.
    """
    tables = []
    for seed in seeds:
        for number in range(1, arm.rounds + 1):
            weights = pd.read_parquet(newest(arm.folder(seed), f"04_feature/rsi/round_{number}/weights.parquet"))
            images = newest(arm.folder(seed), f"03_primary/rsi/round_{number}/images")
            texts = pd.read_parquet(images / "metadata.parquet").set_index("image_id")["text"]
            texts = texts[weights["image_id"]].tolist()
            pictures = [Image.open(images / "images" / f"{name}.png") for name in weights["image_id"]]
            table = weights.assign(text=texts).join(judge_readable("scenes", pictures, texts))
            correct = table["correct"].fillna(False).astype(bool)
            tables.append(table.assign(arm=arm.name, seed=seed, round=number, correct=correct))
    return pd.concat(tables, ignore_index=True)


def mean_metric(arm: Arm, seeds: Sequence[int], number: int, name: str) -> float:
    """A metric of a round, its mean over seeds."""
    paths = [newest(arm.folder(seed), f"08_reporting/rsi/round_{number}/metrics.json") for seed in seeds]
    return float(np.mean([json.loads(path.read_text(encoding="utf-8"))[name] for path in paths]))


def bootstrap_over_seeds(values: pd.DataFrame, n_resamples: int = 2000) -> Interval:
    """The mean of `value` with its 95 % interval, resampling seeds, and prompts within each.

    Args:
        values: one row per prompt: seed, prompt_id and value, the prompt's mean.
    """
    by_seed = [group["value"].to_numpy(float) for _, group in values.groupby("seed")]
    rng = np.random.default_rng(0)
    means = []
    for _ in range(n_resamples):
        drawn = [by_seed[index] for index in rng.integers(len(by_seed), size=len(by_seed))]
        means.append(np.mean([rng.choice(part, len(part)).mean() for part in drawn]))
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(np.mean([part.mean() for part in by_seed])), float(low), float(high))
