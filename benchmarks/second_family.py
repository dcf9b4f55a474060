"""Find why the defaults of the first family do not improve the second: selection, fine-tuning or the sampler?

    OMP_NUM_THREADS=1 python benchmarks/second_family.py

1. The second base's images of 110 validation prompts (two each), with several samplers.
2. 600 images of 150 pool prompts: how many are right of all, of those that selection keeps, and of these by weight.
3. One fine-tuning of the base on these, or on 2,750 clean pairs, with several learning rates and adapters; the images
   of the same prompts after it, with 8 steps and with 20.
4. A second round, with training images of 8 and of 20 steps.

Seed 103, on which no result is reported. Prints a table; it takes some 75 minutes of one core.
"""

import argparse
import io
import sys
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.training_set import TrainingSet, join_training_sets
from rsidiff_kedro.diffusion.families.flow_matching import JOINT_ATTENTION
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings, SamplerSettings
from rsidiff_kedro.diffusion.training import finetune, initial_adapter
from rsidiff_kedro.evaluation.diversity import open_diversity
from rsidiff_kedro.evaluation.judging import judge_readable
from rsidiff_kedro.method.selection import select_samples
from rsidiff_kedro.method.settings import SelectionSettings, WeightingSettings
from rsidiff_kedro.method.weighting import weigh_samples
from rsidiff_kedro.prompts.splits import split_prompts
from rsidiff_kedro.rewards.registry import load_features
from rsidiff_kedro.scenes.plugins.prompt_source import GrammarSource
from rsidiff_kedro.scenes.plugins.proxy import ProxyReward
from rsidiff_kedro.scenes.pretraining.corpus import NoiseRates, draw_corpus

MODEL = ModelSettings(family="stable_diffusion_3", base="scenes_sd3", options={"max_sequence_length": 0})
SEED = 103
SAMPLERS = ((8, 1.0), (8, 1.5), (8, 2.0), (8, 3.0), (12, 2.0), (20, 1.0), (20, 2.0))
"""Steps and guidance scales."""
SELECTED, CLEAN = "selected and weighted", "clean pairs"
NORMS = r"norm1\.linear|norm1_context\.linear"
EVERYTHING = rf".*\.({JOINT_ATTENTION}|net\.0\.proj|net\.2|{NORMS})|context_embedder|proj_out|norm_out\.linear"
"""Layers of a transformer, with those of its modulation and its last ones."""
TRIALS: tuple[tuple[str, dict[str, Any]], ...] = (
    (SELECTED, {"learning_rate": 6e-4}),
    (SELECTED, {"learning_rate": 2e-3}),
    (SELECTED, {"learning_rate": 2e-3, "steps": 300}),
    (SELECTED, {"learning_rate": 1e-3, "rank": 128}),
    (SELECTED, {"learning_rate": 1e-3, "target_modules": EVERYTHING}),
    (CLEAN, {"learning_rate": 2e-4}),
    (CLEAN, {"learning_rate": 6e-4}),
    (CLEAN, {"learning_rate": 2e-3}),
    (CLEAN, {"learning_rate": 2e-3, "steps": 300}),
)
"""Training images, and the settings of `finetune` that differ from the first family's."""
RATE = 2e-3
"""Of the two rounds."""
PAIRS, PAIRS_SEED = 2750, 1000
"""As in study_inputs.py."""


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    collected = GrammarSource(count=400, evaluation_count=340, two_objects=0.4).collect(SEED)
    pool, validation, _ = split_prompts(collected, validation_size=110, test_size=10, seed=SEED)
    prompts = pool.sample(150, random_state=1)
    later = pool[~pool["prompt_id"].isin(prompts["prompt_id"])].sample(150, random_state=2)
    say(
        "| of | steps, guidance | right | hallucinated | malformed | attributes right | diversity |\n"
        + "|---" * 7
        + "|"
    )
    for steps, guidance in SAMPLERS:
        show("base", validation, None, steps, guidance)
    first, base = make_set(prompts, None, 8, 1)
    sets = {SELECTED: first, CLEAN: clean_pairs()}
    for name, changed in TRIALS:
        adapter = train(sets[name], None, 1, **changed)
        said = ", ".join(f"{key} {value}" for key, value in changed.items() if key != "target_modules")
        for steps in (8, 20):
            show(f"{name}, {said}{', all layers' * ('target_modules' in changed)}", validation, adapter, steps, 2.0)
    parent = train(first, None, 1, learning_rate=RATE)
    for steps in (8, 20):
        second, _ = make_set(later, parent, steps, 2, base)
        adapter = train(join_training_sets([first, second]), parent, 2, learning_rate=RATE)
        show(f"round 2, training images of {steps} steps", validation, adapter, 20, 2.0)


def say(text: str) -> None:
    """Print a line now."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def show(name: str, prompts: pd.DataFrame, adapter: Adapter | None, steps: int, guidance: float) -> None:
    """Print a row: two images of each prompt, judged."""
    sampler = SamplerSettings(num_inference_steps=steps, guidance_scale=guidance, micro_batch_size=32)
    made = sample_images(load_model(MODEL), adapter, prompts, 2, sampler, SEED, "val", "generating")
    verdicts = judge_readable("scenes", list(made.images), made.metadata["text"].tolist())
    found = (
        *shares(verdicts, np.ones(len(verdicts))),
        open_diversity(verdicts.assign(prompt_id=made.metadata["prompt_id"])).mean(),
    )
    say(f"| {name} | {steps}, {guidance:g} | " + " | ".join(f"{value:.3f}" for value in found) + " |")


def shares(verdicts: pd.DataFrame, weights: np.ndarray) -> tuple[float, ...]:
    """Return by weight how many are right, hallucinated, malformed, and have all attributes right."""
    columns = (
        verdicts["correct"],
        verdicts["hallucinations"] > 0,
        verdicts["malformed"] > 0,
        verdicts["attribute_accuracy"] == 1,
    )
    return tuple(float(np.average(column.to_numpy(float), weights=weights)) for column in columns)


class Reference(NamedTuple):
    """The base's images of the first round: features and prompts."""

    features: np.ndarray
    texts: list[str]


def make_set(
    prompts: pd.DataFrame, adapter: Adapter | None, steps: int, number: int, base: Reference | None = None
) -> tuple[TrainingSet, Reference]:
    """Generate four images of each prompt, select and weigh them as a round does, and print how many are right."""
    sampler = SamplerSettings(num_inference_steps=steps, guidance_scale=2.0, micro_batch_size=32)
    made = sample_images(
        load_model(MODEL),
        adapter,
        prompts,
        4,
        sampler,
        SEED,
        "train" if number == 1 else f"train{number}",
        "generating",
    )
    table, texts, images = made.metadata, made.metadata["text"].tolist(), list(made.images)
    verdicts = judge_readable("scenes", images, texts)
    scores = table[["image_id", "prompt_id"]].assign(proxy=ProxyReward().score(images, texts))
    chosen = select_samples(scores, SelectionSettings(rewards={"proxy": 1.0}, keep_per_prompt=4, max_gap=0.75), SEED)
    kept = np.flatnonzero(chosen["kept"].to_numpy())
    features = load_features("proxy").embed(images, texts)
    own = Reference(features, texts)
    reference = own if base is None else Reference(np.concatenate([base.features, features]), [*base.texts, *texts])
    settings = WeightingSettings(features="proxy", condition_on_prompts="words", ignored_variance=0.95)
    weights = weigh_samples(*reference, features[kept], [texts[row] for row in kept], settings)["weight"].to_numpy()
    every = np.arange(len(table))
    for name, rows, by in (
        ("all", every, np.ones(len(every))),
        ("kept", kept, np.ones(len(kept))),
        ("by weight", kept, weights),
    ):
        found = " | ".join(f"{value:.3f}" for value in shares(verdicts.iloc[rows], by))
        say(f"| training images of round {number}, {name} | {steps}, 2 | {found} | |")
    columns = table.iloc[kept].reset_index(drop=True).assign(round=number, weight=weights)
    assert made.latents is not None
    return TrainingSet(columns, made.latents[:][torch.tensor(kept)]), own


def clean_pairs() -> TrainingSet:
    """Render pairs without noise, and encode them."""
    corpus = draw_corpus(PAIRS, 0.4, NoiseRates(**dict.fromkeys(NoiseRates.model_fields, 0.0)), PAIRS_SEED)
    images = [Image.open(io.BytesIO(data), formats=["PNG"]).convert("RGB") for data in corpus["image"]]
    model = load_model(MODEL)
    latents = torch.cat([model.encode_images(images[row : row + 64]) for row in range(0, PAIRS, 64)])
    names, captions = [str(row) for row in range(PAIRS)], corpus["caption"].tolist()
    columns = {"image_id": names, "prompt_id": captions, "text": captions, "round": 0, "weight": 1.0}
    return TrainingSet(pd.DataFrame(columns), latents.float())


def train(images: TrainingSet, parent: Adapter | None, number: int, **changed: Any) -> Adapter:
    """Fine-tune as a round does; without a parent from the base."""
    values = {"layers": "all", "rank": 16, "steps": 100, "batch_size": 32, "logit_mean": 0.0, "ema_decay": 0.98}
    settings = FinetuneSettings.model_validate(values | changed)
    start = initial_adapter(load_model(MODEL), settings, SEED) if parent is None else parent
    return finetune(load_model(MODEL), start, images, settings, SEED, number)[0]


if __name__ == "__main__":
    main()
