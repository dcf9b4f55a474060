"""Open models by their settings, and check before that they can be opened, trained and sampled from."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from huggingface_hub import is_offline_mode
from pydantic import ValidationError

from rsidiff_kedro.core.registry import PluginError
from rsidiff_kedro.core.untrusted.loading import loading, reason
from rsidiff_kedro.core.validation import explain
from rsidiff_kedro.diffusion.bases import ModelError, find_index, model_source
from rsidiff_kedro.diffusion.early_dropping import check_scheduler
from rsidiff_kedro.diffusion.families import FAMILIES
from rsidiff_kedro.diffusion.lora import add_lora
from rsidiff_kedro.diffusion.model import DiffusionModel
from rsidiff_kedro.diffusion.model_fit import has_undefined_snr
from rsidiff_kedro.diffusion.model_folder import check_components, component_class, read_object
from rsidiff_kedro.diffusion.prompt_tokenizer import PromptTokenizer, open_prompt_tokenizer
from rsidiff_kedro.diffusion.quantization import check_quantization
from rsidiff_kedro.diffusion.runtime import check_runtime
from rsidiff_kedro.diffusion.settings import (
    LoraSettings,
    LossSettings,
    ModelSettings,
    Runtime,
    SamplerSettings,
    find_device,
)

_PROMPTS_AT_ONCE = 64
"""The most that a text encoder reads."""


def family_of(model: ModelSettings) -> type[DiffusionModel]:
    """Return the class of `model.family`, or raise ModelError if there is none."""
    try:
        family = FAMILIES.load(model.family)
    except PluginError as error:
        raise ModelError(f"model.family: {error}") from None
    if not isinstance(family, type) or not issubclass(family, DiffusionModel):
        raise ModelError(f"model.family: {model.family!r} is no model family; name a subclass of DiffusionModel")
    return family


def check_model(model: ModelSettings) -> None:
    """Raise ModelError unless device, family and base model exist, and the base has the networks of the family.

    A model that has yet to be downloaded is checked when it is opened.
    """
    find_device(model.device)
    family = family_of(model)
    _check_options(family, model)
    check_quantization(
        model.text_encoder_quantization, model.family, family.quantizable(model), find_device(model.device)
    )
    index = find_index(model.base, model.revision)
    found, wanted = read_object(index).get("_class_name", ""), family.pipeline_class.__name__
    families = _by_pipeline()
    if not isinstance(found, str):
        raise ModelError(
            f"model.base: {str(index)!r} names its pipeline {found!r}; code that comes with a model is not run: give a "
            "model without"
        )
    if found != wanted and found in families:
        raise ModelError(f"model.base: {model.base!r} is a {found}; set model.family={families[found]}")
    if found not in (wanted, ""):
        (near,) = get_close_matches(found, families, n=1, cutoff=0) or (wanted,)
        raise ModelError(
            f"model.base: {model.base!r} is a {found}, which no family generates with; {families.get(near, near)} is "
            "the nearest. Give a model that generates from text alone, or add a family (docs/models.md#another-family)"
        )
    if os.path.isdir(model_source(model.base)) or is_offline_mode():
        family.check_folder(index.parent, model)
    else:
        family.components_of(index.parent, model)


def _check_options(family: type[DiffusionModel], model: ModelSettings) -> None:
    try:
        family.options_of(model)
    except ValidationError as error:
        known = ", ".join(family.Options.model_fields) or "none"
        wrong = explain(error, family.Options, model.options)
        raise ModelError(f"model.options: {wrong}; correct or remove it; options of {model.family}: {known}") from None


def _by_pipeline() -> dict[str, str]:
    """Map the names of pipelines to the families that generate with them, as far as these can be imported."""
    families: dict[str, str] = {}
    for name in FAMILIES.names:
        with suppress(PluginError):
            families[FAMILIES.load(name).pipeline_class.__name__] = name
    return families


def check_loss(model: ModelSettings, settings: LossSettings) -> None:
    """Raise ModelError if the family cannot be fine-tuned with these settings."""
    if settings.min_snr_gamma is not None and not family_of(model).has_snr:
        raise ModelError(
            f"finetune.min_snr_gamma is {settings.min_snr_gamma}, but {model.family} is trained by flow matching, for "
            "which Min-SNR is not defined; set finetune.min_snr_gamma=null"
        )
    path = find_index(model.base, model.revision).parent / "scheduler" / "scheduler_config.json"
    if settings.min_snr_gamma is not None and path.is_file() and has_undefined_snr(read_object(path)):
        raise ModelError(
            f"finetune.min_snr_gamma is {settings.min_snr_gamma}, but {str(path)!r} leaves no signal at the last "
            "timestep (rescale_betas_zero_snr), where Min-SNR divides zero by zero; set finetune.min_snr_gamma=null"
        )


def check_lora(model: ModelSettings, settings: LoraSettings) -> None:
    """Raise AdapterError if the denoiser lacks a layer of `target_modules`; a hub id is checked once it is cached."""
    if settings.target_modules is not None and (denoiser := empty_denoiser(model)) is not None:
        add_lora(denoiser, settings, family_of(model).lora_targets[settings.layers])


def empty_denoiser(model: ModelSettings) -> Any | None:
    """Build a model's denoiser without memory for its weights; None of a hub id that is not cached."""
    family, folder = family_of(model), find_index(model.base, model.revision).parent
    is_there = (folder / family.denoiser_name / "config.json").is_file()
    return family.empty_denoiser(folder) if is_there else None


def check_steps(model: ModelSettings, samplers: Mapping[str, SamplerSettings]) -> None:
    """Raise ModelError if a sampler, given by its parameter's path, takes more steps than the model has noise levels.

    Flow matching has no such limit. A hub id's scheduler is read once it is in the cache.
    """
    folder = find_index(model.base, model.revision).parent / "scheduler"
    if not family_of(model).has_snr or not (folder / "scheduler_config.json").is_file():
        return
    problem = f"model.base: {str(folder)!r} holds no scheduler"
    with loading(lambda error: ModelError(f"{problem} ({reason(error)}); save it again")):
        kind = component_class("scheduler", *check_components(folder.parent)["scheduler"])
        scheduler = kind.from_config(read_object(folder / "scheduler_config.json"))
    levels = scheduler.config.num_train_timesteps
    for path, sampler in samplers.items():
        steps = sampler.num_inference_steps
        if steps > levels or not _is_possible(scheduler, steps, levels):
            raise ModelError(
                f"{path}.num_inference_steps is {steps}, too many for the {levels} num_train_timesteps in "
                f"{str(folder)!r}; set fewer steps"
            )


def check_dropping(model: ModelSettings, steps: int, after: int) -> None:
    """Raise ModelError if the base's scheduler does not show after so many steps what samples become.

    A hub id's scheduler is read once it is in the cache.
    """
    folder = find_index(model.base, model.revision).parent / "scheduler"
    if (folder / "scheduler_config.json").is_file():
        kind = component_class("scheduler", *check_components(folder.parent)["scheduler"])
        check_scheduler(kind, read_object(folder / "scheduler_config.json"), steps, after)


def check_runtimes(model: ModelSettings, runtimes: Mapping[str, Runtime]) -> None:
    """Raise ModelError if a runtime, given by its parameter's path, cannot compute the denoiser."""
    kind, device = family_of(model).denoiser_class, find_device(model.device)
    for path, runtime in runtimes.items():
        check_runtime(path, runtime, kind, device, getattr(torch, model.dtype))


def _is_possible(scheduler: Any, steps: int, levels: int) -> bool:
    """Tell whether a scheduler's steps are at noise levels that it has: some begin at an offset."""
    try:
        scheduler.set_timesteps(steps)
    except ValueError:
        return False
    return bool(scheduler.timesteps.max() < levels)


def open_tokenizer(model: ModelSettings) -> PromptTokenizer:
    """Open the tokenizers that limit a prompt's length, without networks; raise ModelError if one is broken."""
    family = family_of(model)
    _check_options(family, model)
    others = family.other_tokenizers(model)
    return open_prompt_tokenizer(model.base, model.revision, family.tokenizer_name, family.max_tokens, others)


def load_model(model: ModelSettings) -> DiffusionModel:
    """Open a base model, or raise ModelError if it is missing, incomplete or of another family."""
    check_model(model)
    return family_of(model).open(model)


def embed_prompts(model: ModelSettings, texts: Sequence[str]) -> np.ndarray:
    """Return the text encoder's states, averaged over all tokens including padding (Sana masks it): float32 [n, d]."""
    opened, parts = load_model(model), []
    for row in range(0, len(texts), _PROMPTS_AT_ONCE):
        read = opened.conditioning([*texts[row : row + _PROMPTS_AT_ONCE]])
        states = read["prompt_embeds"].float()
        mask = read.tensors.get("prompt_attention_mask", torch.ones(states.shape[:2])).to(states)[..., None]
        parts.append(((states * mask).sum(dim=1) / mask.sum(dim=1)).cpu().numpy())
    return np.concatenate(parts)
