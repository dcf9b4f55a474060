"""Measure how weighting acts on features of many dimensions: python benchmarks/weights_in_many_dimensions.py

Features are drawn from one Gaussian whose spectrum decays, as embeddings' spectra do, and brought to length one. A
quarter of the samples is odd: noise in the minor components is added to them. Prints a Markdown table.
"""

import sys

import numpy as np
from sklearn.metrics import roc_auc_score

from rsidiff_kedro.core.training_set import effective_sample_size
from rsidiff_kedro.method.settings import WeightingSettings
from rsidiff_kedro.method.weighting import weigh_samples

SIZES = ((768, 800), (768, 2400), (64, 600), (16, 600))
"""Dimensions, of which CLIP's embeddings have 768, and samples."""
HEAD = "| dimensions | samples | `support_fraction` | AUC | weight 0: right | odd | effective sample size |"


def draw(samples: int, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features [n, d], and which samples are odd [n]."""
    rng = np.random.default_rng(0)
    deviations = np.arange(1, dimensions + 1) ** -0.7
    features = rng.normal(size=(samples, dimensions)) * deviations
    odd = rng.random(samples) < 0.25
    minor = 0.5 * deviations * np.linspace(0, 1, dimensions)
    features[odd] += rng.normal(size=(odd.sum(), dimensions)) * minor
    return features / np.linalg.norm(features, axis=1, keepdims=True), odd


def main() -> None:
    """Weigh samples of each size, with the support's default and with all of them as the support."""
    rows = [HEAD, "|" + " --- |" * 7]
    for dimensions, samples in SIZES:
        features, odd = draw(samples, dimensions)
        prompts = ["a"] * samples
        for support in (0.7, 1.0):
            settings = WeightingSettings(features="clip_score", support_fraction=support)
            found = weigh_samples(features, prompts, features, prompts, settings)
            none, weights = found["weight"] == 0, found["weight"].to_numpy()
            rows.append(
                f"| {dimensions} | {samples} | {support} | {roc_auc_score(odd, found['distance']):.2f} | "
                f"{none[~odd].mean():.0%} | {none[odd].mean():.0%} | {effective_sample_size(weights):.2f} |"
            )
    sys.stdout.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
