"""What the embedded base and its preference model are worth, and their model cards."""

import numpy as np
import pandas as pd
import torch
from diffusers import AutoencoderKL
from scipy.stats import spearmanr

from rsidiff_kedro.diffusion.image_set import ImageSet
from rsidiff_kedro.diffusion.settings import SamplerSettings
from rsidiff_kedro.rewards.proxy import ProxyModel, ProxyReward
from rsidiff_kedro.scenes.autoencoder import reconstruct
from rsidiff_kedro.scenes.grammar import SHAPES, parse_caption, sample_scene
from rsidiff_kedro.scenes.judge import judge_images
from rsidiff_kedro.scenes.renderer import compose, render
from rsidiff_kedro.scenes.settings import BaseModelSettings, DenoiserSettings
from rsidiff_kedro.statistics.bootstrap import bootstrap_mean


def measure_base(autoencoder: AutoencoderKL, verdicts: pd.DataFrame, seed: int) -> dict[str, float]:
    """Accuracy on held-out prompts, by number of objects and by shape, and of the autoencoder's reconstructions.

    Args:
        verdicts: a row an image: text, prompt_id and the judge's columns.
    """
    scenes = [parse_caption(text) for text in verdicts["text"]]
    correct = verdicts["correct"].astype(float)
    interval = bootstrap_mean(correct, verdicts["prompt_id"], 1000, seed)
    figures = {
        "images": float(len(verdicts)),
        "accuracy": interval.mean,
        "accuracy_low": interval.low,
        "accuracy_high": interval.high,
        "attribute_accuracy": float(verdicts["attribute_accuracy"].mean()),
        "hallucination_rate": float((verdicts["hallucinations"] > 0).mean()),
        "malformed_rate": float((verdicts["malformed"] > 0).mean()),
    }
    for n_objects, name in ((1, "one_object"), (2, "two_objects")):
        rows = [len(scene.objects) == n_objects for scene in scenes]
        figures[f"accuracy/{name}"] = float(correct[rows].mean())
    for shape in SHAPES:
        rows = [len(scene.objects) == 1 and scene.objects[0].shape == shape for scene in scenes]
        figures[f"accuracy/one_object/{shape}"] = float(correct[rows].mean())
    return figures | measure_reconstructions(autoencoder, 1000, seed)


def measure_reconstructions(autoencoder: AutoencoderKL, count: int, seed: int) -> dict[str, float]:
    """The share of reconstructed rendered scenes that the judge finds right."""
    rng = np.random.default_rng(seed + 1)
    scenes = [sample_scene(rng, 1 + number % 2) for number in range(count)]
    pixels = np.stack([render(compose(scene, rng)) for scene in scenes])
    verdicts = judge_images(reconstruct(autoencoder.to(torch.float32), pixels), [scene.caption for scene in scenes])
    return {"reconstructions/accuracy": float(verdicts["correct"].mean())}


def measure_proxy(proxy: ProxyModel, images: ImageSet, verdicts: pd.DataFrame, seed: int) -> dict[str, float]:
    """How well the preference model agrees with the judge within a prompt.

    Returns:
        within_prompt_correlation: mean Spearman correlation of score and grade over the prompts where both vary;
        pairwise_agreement: the share of pairs of a prompt, graded differently, that it orders as the judge does;
        best: accuracy of the sample that it scores best, beside a random one and one that the judge picks.
    """
    table = verdicts.assign(score=ProxyReward(model=proxy).score(images.images, verdicts["text"].tolist()))
    correlations, agreements = [], []
    for _, group in table.groupby("prompt_id"):
        scores, grades = group["score"].to_numpy(), group["grade"].to_numpy()
        higher = grades[:, None] > grades[None, :]
        if higher.any():
            correlations.append(float(spearmanr(scores, grades).statistic))
            agreements.extend((scores[:, None] > scores[None, :])[higher])
    best = table.sort_values("score").groupby("prompt_id").tail(1)
    return {
        "images": float(len(table)),
        "prompts_compared": float(len(correlations)),
        "within_prompt_correlation": float(np.mean(correlations)) if correlations else 0.0,
        "pairwise_agreement": float(np.mean(agreements)) if agreements else 0.5,
        "best/proxy": float(best["correct"].mean()),
        "best/random": float(table["correct"].mean()),
        "best/judge": float(table.groupby("prompt_id")["correct"].any().mean()),
    }


def base_card(figures: dict[str, float], settings: BaseModelSettings, sampler: SamplerSettings, parameters: int) -> str:
    """The base's model card, in Markdown."""
    corpus, denoiser, noise = settings.corpus, settings.denoiser, settings.corpus.noise
    rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in figures.items() if name != "images")
    return f"""---
library_name: diffusers
pipeline_tag: text-to-image
license: mit
---
# Scenes: the embedded base model of rsidiff_kedro

A plain `StableDiffusionPipeline` (UNet of {parameters / 1e6:.1f} million parameters, float16) that draws 32 x 32
pictures of one or two colored shapes; draw with {sampler.num_inference_steps} steps, guidance scale
{sampler.guidance_scale:g}, height = width = 32. It was made by `kedro run --pipeline=base_model` from rendered
pictures alone, and stands in for a real model: no person, brand or work of others is in its data.

Corpus: {corpus.size:,} pictures, {corpus.two_objects:.0%} with two objects. Of the pairs {noise.caption:.0%} have a
wrong caption, {noise.stray:.0%} a blob that no caption names, {noise.malformed:.0%} a malformed form. UNet
and text encoder saw {_seen(denoiser, True):,} samples of its clean pairs, then {_seen(denoiser, False):,} of all pairs.

Judged on {figures["images"]:.0f} images of held-out prompts with the default sampler:

| figure | value |
|---|---|
{rows}
"""


def _seen(denoiser: DenoiserSettings, clean: bool) -> int:
    """Samples drawn in the phases that draw from clean pairs alone, or in the others."""
    return sum(phase.steps * phase.batch_size for phase in denoiser.phases if phase.clean == clean)


def proxy_card(figures: dict[str, float], settings: BaseModelSettings) -> str:
    """The preference model's card, in Markdown."""
    shown = settings.proxy.annotation
    rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in figures.items() if name != "images")
    return f"""# Scenes: the embedded preference model of rsidiff_kedro

Scores how well a 32 x 32 picture fits a caption of the scenes grammar. Taught on matching and wrong pairs, then on
pairwise preferences of simulated annotators: the judge's verdicts on the base's own samples, {shown.error_rate:.0%} of
the answers turned round, for prompts that are used nowhere else. Made by `kedro run --pipeline=base_model`.

Beside the judge, on {figures["images"]:.0f} images of held-out prompts:

| figure | value |
|---|---|
{rows}

`best/…` is the accuracy of the best of {settings.held_out.samples_per_prompt} samples as each picks it.
"""
