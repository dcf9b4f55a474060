"""The steps of prompt curation."""

from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from rsidiff_kedro.diffusion.backbones import load_backbone
from rsidiff_kedro.diffusion.image_set import ImageSet
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.lineage.unfinished import unfinished_folder
from rsidiff_kedro.prompts import filters, pool, sources
from rsidiff_kedro.prompts.filters import FilterSettings
from rsidiff_kedro.prompts.settings import CurationSettings, ProbeSettings
from rsidiff_kedro.rewards.scoring import with_scores
from rsidiff_kedro.rewards.settings import RewardsSettings

EMBEDDED_AT_ONCE = 64
"""Prompts in a batch of the text encoder."""


def collect_prompts(source: dict[str, Any], evaluation_source: dict[str, Any] | None, seed: int) -> pd.DataFrame:
    """Read or generate the prompts, those for evaluation from a source of their own if there is one."""
    adapter = TypeAdapter(sources.PromptSource)
    training = adapter.validate_python(source)
    evaluation = adapter.validate_python(evaluation_source) if evaluation_source else None
    return sources.collect_prompts(training, evaluation, seed)


def filter_prompts(
    collected: pd.DataFrame, settings: FilterSettings, model: ModelSettings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Drop what the model's text encoder cannot read, what is blocked and what says the same twice."""
    backbone = load_backbone(model)
    return filters.filter_prompts(collected, settings, backbone.count_tokens, backbone.max_tokens)


def draw_probe_images(
    candidates: pd.DataFrame, enabled: bool, probe: ProbeSettings, model: ModelSettings, seed: int
) -> ImageSet:
    """Draw a few images of the base model for each candidate; none if curation is off."""
    return sample_images(
        load_backbone(model),
        None,
        candidates if enabled else candidates.head(0),
        probe.samples_per_prompt,
        probe.sampler,
        seed,
        purpose="probe",
        title="probe: drawing",
        unfinished=unfinished_folder(),
    )


def score_probe_images(images: ImageSet, probe: ProbeSettings, models: RewardsSettings) -> pd.DataFrame:
    """Score the probe's images with the probe's reward."""
    table = images.metadata[["image_id", "prompt_id", "text"]]
    return with_scores(table, images.images, [probe.reward], models, unfinished_folder())


def select_pool(
    candidates: pd.DataFrame, probe_scores: pd.DataFrame, curation: dict[str, Any], model: ModelSettings, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep the prompts that the model can align with, and of those a diverse pool."""

    def embed(texts: list[str]) -> np.ndarray:
        backbone = load_backbone(model)
        starts = range(0, len(texts), EMBEDDED_AT_ONCE)
        states = [backbone.encode_prompts(texts[start : start + EMBEDDED_AT_ONCE]) for start in starts]
        return np.concatenate([state.states.float().mean(dim=1).cpu().numpy() for state in states])

    return pool.select_pool(candidates, probe_scores, CurationSettings.model_validate(curation), seed, embed)


def gather_rejected(by_filter: pd.DataFrame, by_probe: pd.DataFrame) -> pd.DataFrame:
    """Every dropped prompt with the rule that dropped it, in one table."""
    parts = [part for part in (by_filter, by_probe) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else by_filter
