"""Compare what weighting subtracts from the features: nothing, what words explain, or what the text encoder explains.

    OMP_NUM_THREADS=1 python benchmarks/prompt_conditioning.py

The embedded base generates four images of each of 150 prompts, with three seeds and other prompts each. All of them are
the reference and all are weighed, as in a first round without selection. The judge says which are right, and which
have a hallucination. Prints a table with means over the seeds, and their range. It takes some five minutes of one core.
"""

import argparse
import sys
from functools import partial

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from rsidiff_kedro.core.prompt_table import Embed, prompt_table
from rsidiff_kedro.core.training_set import effective_sample_size
from rsidiff_kedro.diffusion.opening import embed_prompts, load_model
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings
from rsidiff_kedro.evaluation.judging import judge_readable
from rsidiff_kedro.method.settings import WeightingSettings
from rsidiff_kedro.method.weighting import weigh_samples
from rsidiff_kedro.rewards.registry import load_features
from rsidiff_kedro.scenes.pretraining.corpus import held_out_scenes

MODEL = ModelSettings(base="scenes")
SAMPLER = SamplerSettings(num_inference_steps=8, guidance_scale=2.0, micro_batch_size=32)
KINDS = {"nothing": None, "words": "words", "text encoder": "text_encoder"}
COLUMNS = (
    "AUC, hallucinated",
    "AUC, wrong",
    "weight, hallucinated",
    "weight, right",
    "effective sample size",
    "accuracy, weighted",
    "diversity, weighted",
)
"""Of the table; docs/method.md explains them."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    embed = partial(embed_prompts, MODEL)
    found: dict[tuple[str, float], list[dict[str, float]]] = {}
    for seed in range(given.seeds):
        prompts = prompt_table([scene.caption for scene in held_out_scenes(90, 60, seed=seed)], "grammar")
        made = sample_images(load_model(MODEL), None, prompts, 4, SAMPLER, seed, "conditioning", "generating")
        texts, images = made.metadata["text"].tolist(), list(made.images)
        verdicts = judge_readable("scenes", images, texts)
        features = load_features("proxy").embed(images, texts)
        for kind in KINDS:
            for ignored in (0.95, 0.0):
                found.setdefault((kind, ignored), []).append(measure(features, texts, verdicts, kind, ignored, embed))
    sys.stdout.write("| subtracted | ignored_variance | " + " | ".join(COLUMNS) + " |\n")
    sys.stdout.write("| --- " * (2 + len(COLUMNS)) + "|\n")
    for (kind, ignored), rows in found.items():
        cells = [f"{value:.3f} ({low:.3f} to {high:.3f})" for value, low, high in ranges(pd.DataFrame(rows))]
        sys.stdout.write(f"| {kind} | {ignored} | " + " | ".join(cells) + " |\n")


def measure(
    features: np.ndarray, texts: list[str], verdicts: pd.DataFrame, kind: str, ignored: float, embed: Embed
) -> dict[str, float]:
    """Return the table's columns for one seed."""
    settings = WeightingSettings(features="proxy", condition_on_prompts=KINDS[kind], ignored_variance=ignored)
    weighed = weigh_samples(features, texts, features, texts, settings, embed)
    distance, weight = weighed["distance"].to_numpy(), weighed["weight"].to_numpy()
    right, hallucinated = verdicts["correct"].to_numpy(bool), verdicts["hallucinations"].to_numpy() > 0
    either = right | hallucinated
    values = (
        roc_auc_score(hallucinated[either], distance[either]),
        roc_auc_score(~right, distance),
        weight[hallucinated].mean(),
        weight[right].mean(),
        effective_sample_size(weight),
        np.average(right, weights=weight),
        spread(features[right], weight[right]) / spread(features[right], np.ones(right.sum())),
    )
    return dict(zip(COLUMNS, map(float, values), strict=True))


def spread(features: np.ndarray, weights: np.ndarray) -> float:
    """Return the root of the features' total variance, by weight."""
    mean = np.average(features, axis=0, weights=weights)
    return float(np.sqrt(np.average(((features - mean) ** 2).sum(axis=1), weights=weights)))


def ranges(table: pd.DataFrame) -> list[tuple[float, float, float]]:
    """Return mean, minimum and maximum of each column."""
    return list(zip(table.mean(), table.min(), table.max(), strict=True))


if __name__ == "__main__":
    main()
