"""Node functions of prompt curation."""

from functools import partial
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.execution.unfinished import unfinished_folder
from rsidiff_kedro.method.settings import CurationSettings, ProbeSettings
from rsidiff_kedro.prompts import sources
from rsidiff_kedro.prompts.settings import FilterSettings
from rsidiff_kedro.prompts.sources.source import Source
from rsidiff_kedro.rewards.scoring import with_scores
from rsidiff_kedro.rewards.settings import RewardsSettings


def collect_prompts(source: dict[str, Any], evaluation_source: dict[str, Any] | None, seed: int) -> pd.DataFrame:
    """Read or generate the prompts, those for evaluation from a separate source if there is one."""
    return sources.collect_prompts(*_sources(source, evaluation_source), seed)


def filter_prompts(
    collected: pd.DataFrame,
    settings: FilterSettings,
    source: dict[str, Any],
    evaluation_source: dict[str, Any] | None,
    family: str,
    base: str,
    revision: str | None,
    options: dict[str, Any],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Drop prompts that a text encoder cannot read, that are blocked, or that repeat another."""
    from rsidiff_kedro.diffusion.opening import open_tokenizer
    from rsidiff_kedro.prompts import filters

    tokenizer = open_tokenizer(ModelSettings(family=family, base=base, revision=revision, options=options))
    canonical = sources.canonical_of(*filter(None, _sources(source, evaluation_source)))
    return filters.filter_prompts(collected, settings, tokenizer.lengths, canonical)


def generate_probe_images(
    candidates: pd.DataFrame, enabled: bool, probe: ProbeSettings, model: ModelSettings, seed: int
) -> ImageSet:
    """Generate a few images per candidate with the base model, without latents; none if curation is off."""
    from rsidiff_kedro.diffusion.sampling import sample_images

    probed, unfinished = candidates if enabled else candidates.head(0), unfinished_folder()
    samples, title = probe.samples_per_prompt, "probe: generating images"
    made = sample_images(model, None, probed, samples, probe.sampler, seed, "probe", title, unfinished)
    return made.without_latents()


def score_probe_images(images: ImageSet, probe: ProbeSettings, models: RewardsSettings) -> pd.DataFrame:
    """Score the probe's images with the probe's reward."""
    table = images.metadata[["image_id", "prompt_id", "text"]]
    return with_scores(table, images.images, [probe.reward], models, unfinished_folder())


def select_pool(
    candidates: pd.DataFrame, probe_scores: pd.DataFrame, settings: dict[str, Any], model: ModelSettings, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Choose a diverse pool of the prompts that the model can learn from."""
    from rsidiff_kedro.diffusion.opening import embed_prompts
    from rsidiff_kedro.method import curation

    embed = partial(embed_prompts, model)
    return curation.select_pool(candidates, probe_scores, CurationSettings.model_validate(settings), seed, embed)


def gather_rejected(by_filter: pd.DataFrame, by_probe: pd.DataFrame) -> pd.DataFrame:
    """Join all dropped prompts in one table, each with the rule that dropped it."""
    parts = [part for part in (by_filter, by_probe) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else by_filter


def _sources(source: dict[str, Any], evaluation_source: dict[str, Any] | None) -> tuple[Source, Source | None]:
    adapter: TypeAdapter[Source] = TypeAdapter(sources.PromptSource)
    return adapter.validate_python(source), adapter.validate_python(evaluation_source) if evaluation_source else None
