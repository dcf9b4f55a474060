"""Measure the embedded base and its preference model, and write their model cards."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from diffusers import AutoencoderKL
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from scipy.stats import spearmanr

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.diffusion.settings import SamplerSettings
from rsidiff_kedro.evaluation.intervals import bootstrap_mean
from rsidiff_kedro.scenes.plugins.proxy import ProxyModel, ProxyReward
from rsidiff_kedro.scenes.pretraining.autoencoder import reconstruct
from rsidiff_kedro.scenes.pretraining.pretraining_settings import BaseModelSettings
from rsidiff_kedro.scenes.world.grammar import SHAPES, parse_caption, sample_scene
from rsidiff_kedro.scenes.world.judge import Verdict, judge, judge_images
from rsidiff_kedro.scenes.world.renderer import compose, render

CRISP_IOU = 0.92
BEST_OF = 4
_WORDS = {
    "unet": {
        "pipeline": "StableDiffusionPipeline",
        "network": "UNet",
        "text_encoders": "text encoder",
        "further": "",
        "command": "kedro run --pipeline=base_model",
    },
    "mmdit": {
        "pipeline": "StableDiffusion3Pipeline",
        "network": "transformer",
        "text_encoders": "text encoders",
        "further": ", max_sequence_length = 0",
        "command": "kedro run --env=scenes_sd3 --pipeline=base_model",
    },
}
"""Words of the base's card, by the kind of denoiser."""
_CARDS = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)


def measure_base(autoencoder: AutoencoderKL, images: ImageSet, verdicts: pd.DataFrame, seed: int) -> dict[str, float]:
    """Measure the accuracy on held-out prompts, by number of objects, shape and attribute, and of the autoencoder.

    Args:
        images: several per prompt.
        verdicts: one row per image: text, prompt_id and the judge's columns.

    Returns:
        Shares in [0, 1]; `best_of_…` is the share of prompts with at least one right sample, `crispness` the accuracy
        at the stricter IoU of `CRISP_IOU` over that at the judge's own.
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
    return figures | _accuracy_of_attributes(strict) | _accuracy_of_reconstructions(autoencoder, 1000, seed)


def accuracy(verdicts: pd.DataFrame) -> dict[str, float]:
    """Return the share of right samples: of all, by number of objects, and by the shape of a single one."""
    objects = [parse_caption(text).objects for text in verdicts["text"]]
    groups = {"one_object": [len(each) == 1 for each in objects], "two_objects": [len(each) == 2 for each in objects]}
    for shape in SHAPES:
        groups[f"one_object/{shape}"] = [len(each) == 1 and each[0].shape == shape for each in objects]
    correct = verdicts["correct"].astype(float)
    shares = {f"accuracy/{name}": float(correct[rows].mean()) for name, rows in groups.items()}
    return {"accuracy": float(correct.mean()), **shares}


def _accuracy_of_attributes(verdicts: list[Verdict]) -> dict[str, float]:
    """Return the share of right attributes by kind."""
    right: dict[str, list[bool]] = defaultdict(list)
    for verdict in verdicts:
        for name, value in verdict.attributes.items():
            right[name.split("_")[0]].append(value)
    return {f"attribute_accuracy/{name}": float(np.mean(values)) for name, values in sorted(right.items())}


def _accuracy_of_reconstructions(autoencoder: AutoencoderKL, count: int, seed: int) -> dict[str, float]:
    """Return the share of rendered scenes that are right after encoding and decoding."""
    rng = np.random.default_rng(seed + 1)
    scenes = [sample_scene(rng, 1 + number % 2) for number in range(count)]
    pixels = np.stack([render(compose(scene, rng)) for scene in scenes])
    verdicts = judge_images(reconstruct(autoencoder.float(), pixels), [scene.caption for scene in scenes])
    return {"reconstructions/accuracy": float(verdicts["correct"].mean())}


def measure_proxy(proxy: ProxyModel, images: ImageSet, verdicts: pd.DataFrame) -> dict[str, float]:
    """Measure how well the preference model agrees with the judge within a prompt.

    Returns:
        within_prompt_correlation: mean Spearman correlation of score and grade over prompts of different grades;
        pairwise_agreement: the share of a prompt's differently graded pairs that it orders as the judge does;
        best: accuracy of the best of `BEST_OF` samples as it, chance or the judge picks it.
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
    """Write the base's model card in Markdown; `log` has the loss by step."""
    seen = {True: 0, False: 0}
    for phase in settings.denoiser.phases:
        seen[phase.clean] += phase.steps * phase.batch_size
    curve = log.iloc[np.unique(np.linspace(0, len(log) - 1, 12).round().astype(int))] if len(log) else log
    return _CARDS.get_template("base_card.md.j2").render(
        figures=figures,
        curve=list(curve.itertuples()),
        corpus=settings.corpus,
        seen=seen,
        clean_first=settings.denoiser.phases[0].clean,
        sampler=sampler,
        parameters=parameters,
        **_WORDS[settings.denoiser.kind],
    )


def proxy_card(figures: dict[str, float], settings: BaseModelSettings) -> str:
    """Write the preference model's card in Markdown."""
    error_rate = settings.proxy.annotation.error_rate
    return _CARDS.get_template("proxy_card.md.j2").render(figures=figures, error_rate=error_rate, best_of=BEST_OF)
