"""What the embedded base and its preference model are worth, and their model cards."""

from collections import defaultdict

import numpy as np
import pandas as pd
from diffusers import AutoencoderKL
from scipy.stats import spearmanr

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.diffusion.model import SamplerSettings
from rsidiff_kedro.evaluation.intervals import bootstrap_mean
from rsidiff_kedro.scenes.plugins.proxy import ProxyModel, ProxyReward
from rsidiff_kedro.scenes.pretraining.autoencoder import reconstruct
from rsidiff_kedro.scenes.pretraining.pretraining_settings import BaseModelSettings, DenoiserSettings
from rsidiff_kedro.scenes.world.grammar import SHAPES, parse_caption, sample_scene
from rsidiff_kedro.scenes.world.judge import Verdict, judge, judge_images
from rsidiff_kedro.scenes.world.renderer import compose, render

CRISP_IOU = 0.92
BEST_OF = 4
CURVE_POINTS = 12
"""Of the training curve in the card."""


def measure_base(autoencoder: AutoencoderKL, images: ImageSet, verdicts: pd.DataFrame, seed: int) -> dict[str, float]:
    """Accuracy on held-out prompts, by number of objects, shape and attribute, and of the autoencoder.

    Args:
        images: several of each prompt.
        verdicts: a row an image: text, prompt_id and the judge's columns.

    Returns:
        Shares in [0, 1]; `best_of_…` is that of the prompts with a right sample among all of theirs, and
        `crispness` the accuracy at the stricter IoU of `CRISP_IOU` over that at the judge's own.
    """
    strict = [judge(image, text, CRISP_IOU) for image, text in zip(images.images, verdicts["text"], strict=True)]
    correct = verdicts["correct"].astype(float)
    interval = bootstrap_mean(correct, verdicts["prompt_id"], 1000, seed)
    by_prompt = verdicts.groupby("prompt_id")["correct"]
    figures = {
        "images": float(len(verdicts)),
        **accuracy(verdicts),
        "accuracy_low": interval.low,
        "accuracy_high": interval.high,
        "crispness": float(np.mean([verdict.correct for verdict in strict])) / max(interval.mean, 1e-9),
        f"best_of_{by_prompt.size().min()}": float(by_prompt.any().mean()),
        "hallucination_rate": float((verdicts["hallucinations"] > 0).mean()),
        "malformed_rate": float((verdicts["malformed"] > 0).mean()),
        "uncalled_rate": float((verdicts["uncalled"] > 0).mean()),
        "attribute_accuracy": float(verdicts["attribute_accuracy"].mean()),
    }
    figures |= _accuracy_of_attributes(strict)
    return figures | measure_reconstructions(autoencoder, 1000, seed)


def accuracy(verdicts: pd.DataFrame) -> dict[str, float]:
    """The share of right samples: of all, by number of objects, and by the shape of a single one."""
    scenes = [parse_caption(text) for text in verdicts["text"]]
    correct = verdicts["correct"].astype(float)
    figures = {"accuracy": float(correct.mean())}
    for n_objects, name in ((1, "one_object"), (2, "two_objects")):
        rows = [len(scene.objects) == n_objects for scene in scenes]
        figures[f"accuracy/{name}"] = float(correct[rows].mean())
    for shape in SHAPES:
        rows = [len(scene.objects) == 1 and scene.objects[0].shape == shape for scene in scenes]
        figures[f"accuracy/one_object/{shape}"] = float(correct[rows].mean())
    return figures


def _accuracy_of_attributes(verdicts: list[Verdict]) -> dict[str, float]:
    """The share of right ones of each kind of attribute that captions name."""
    right: dict[str, list[bool]] = defaultdict(list)
    for verdict in verdicts:
        for name, value in verdict.attributes.items():
            right[name.split("_")[0]].append(value)
    return {f"attribute_accuracy/{name}": float(np.mean(values)) for name, values in sorted(right.items())}


def measure_reconstructions(autoencoder: AutoencoderKL, count: int, seed: int) -> dict[str, float]:
    """The share of reconstructed rendered scenes that the judge finds right."""
    rng = np.random.default_rng(seed + 1)
    scenes = [sample_scene(rng, 1 + number % 2) for number in range(count)]
    pixels = np.stack([render(compose(scene, rng)) for scene in scenes])
    verdicts = judge_images(reconstruct(autoencoder.float(), pixels), [scene.caption for scene in scenes])
    return {"reconstructions/accuracy": float(verdicts["correct"].mean())}


def measure_proxy(proxy: ProxyModel, images: ImageSet, verdicts: pd.DataFrame, seed: int) -> dict[str, float]:
    """How well the preference model agrees with the judge within a prompt.

    Returns:
        within_prompt_correlation: mean Spearman correlation of score and grade over the prompts where both vary;
        pairwise_agreement: the share of pairs of a prompt, graded differently, that it orders as the judge does;
        best: accuracy of the best of `BEST_OF` samples as it picks it, beside a random one and the judge's pick.
    """
    table = verdicts.assign(score=ProxyReward(model=proxy).score(images.images, verdicts["text"].tolist()))
    correlations, agreements = [], []
    for _, group in table.groupby("prompt_id"):
        scores, grades = group["score"].to_numpy(), group["grade"].to_numpy()
        higher = grades[:, None] > grades[None, :]
        if higher.any():
            correlations.append(float(spearmanr(scores, grades).statistic))
            agreements.extend((scores[:, None] > scores[None, :])[higher])
    few = table.groupby("prompt_id").head(BEST_OF)
    best = few.sort_values("score").groupby("prompt_id").tail(1)
    return {
        "images": float(len(table)),
        "prompts_compared": float(len(correlations)),
        "within_prompt_correlation": float(np.mean(correlations)) if correlations else 0.0,
        "pairwise_agreement": float(np.mean(agreements)) if agreements else 0.5,
        "best/proxy": float(best["correct"].mean()),
        "best/random": float(few["correct"].mean()),
        "best/judge": float(few.groupby("prompt_id")["correct"].any().mean()),
    }


def base_card(
    figures: dict[str, float], log: pd.DataFrame, settings: BaseModelSettings, sampler: SamplerSettings, parameters: int
) -> str:
    """The base's model card, in Markdown; `log` has the loss by step."""
    corpus, denoiser, noise = settings.corpus, settings.denoiser, settings.corpus.noise
    rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in figures.items() if name != "images")
    curve = log.iloc[np.unique(np.linspace(0, len(log) - 1, CURVE_POINTS).round().astype(int))] if len(log) else log
    losses = "\n".join(f"| {row.step:,} | {row.loss:.4f} |" for row in curve.itertuples())
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

Judged on {figures["images"]:.0f} images of held-out prompts with the default sampler (`first_phase/…`: the same
network at the end of its first phase{", on clean pairs alone" if denoiser.phases[0].clean else ""}):

| figure | value |
|---|---|
{rows}

The mean loss of 50 steps, up to this one:

| step | loss |
|---|---|
{losses}
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

`best/…` is the accuracy of the best of {BEST_OF} samples of a prompt as each picks it.
"""
