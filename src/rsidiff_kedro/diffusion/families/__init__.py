"""Register the families of diffusion models, one file each, and open models by their settings."""

import os
from pathlib import Path

from huggingface_hub import is_offline_mode
from pydantic import ValidationError

from rsidiff_kedro.core.registry import PluginError, Registry
from rsidiff_kedro.core.validation import explain
from rsidiff_kedro.diffusion.losses import LossSettings
from rsidiff_kedro.diffusion.model import DiffusionModel, ModelSettings, find_device
from rsidiff_kedro.diffusion.model_folder import (
    BASES,
    ModelError,
    check_components,
    check_files,
    find_index,
    model_source,
    read_object,
    stored_shapes,
)
from rsidiff_kedro.diffusion.prompt_tokenizer import PromptTokenizer, open_prompt_tokenizer

FAMILIES = Registry(
    "model family",
    "rsidiff_kedro.families",
    {
        "stable_diffusion": f"{__name__}.stable_diffusion:StableDiffusion",
        "stable_diffusion_xl": f"{__name__}.stable_diffusion_xl:StableDiffusionXL",
        "stable_diffusion_3": f"{__name__}.stable_diffusion_3:StableDiffusion3",
        "flux": f"{__name__}.flux:Flux",
        "sana": f"{__name__}.sana:Sana",
    },
)


def family_of(model: ModelSettings) -> type[DiffusionModel]:
    """Return the class of `model.family`, or raise ModelError if there is none."""
    try:
        family = FAMILIES.load(model.family)
    except PluginError as error:
        raise ModelError(f"model.family: {error}") from None
    if not isinstance(family, type) or not issubclass(family, DiffusionModel):
        raise ModelError(f"model.family: {model.family!r} is no model family; name a subclass of DiffusionModel")
    return family


def loaded_components(folder: Path, model: ModelSettings) -> set[str]:
    """Return the components that a pipeline's index names, without those that the family leaves out."""
    options = family_of(model).loading_options(model)
    return {name for name in check_components(folder) if options.get(name, name) is not None}


def check_model(model: ModelSettings) -> None:
    """Raise ModelError unless device, family and base model exist, and the base has all components of the family."""
    find_device(model.device)
    family = family_of(model)
    try:
        family.options_of(model)
    except ValidationError as error:
        known = ", ".join(family.Options.model_fields) or "none"
        wrong = explain(error, family.Options, model.options)
        raise ModelError(f"model.options: {wrong}; correct or remove it; options of {model.family}: {known}") from None
    index = find_index(model.base, model.revision)
    found, wanted = str(read_object(index).get("_class_name")), family.pipeline_class.__name__
    families = {FAMILIES.load(name).pipeline_class.__name__: name for name in FAMILIES.names}
    if found != wanted and found in families:
        raise ModelError(f"model.base: {model.base!r} is a {found}; set model.family={families[found]}")
    components = loaded_components(index.parent, model)
    lacking = ", ".join(sorted(family.components - components))
    if lacking:
        raise ModelError(f"model.base: {str(index)!r} names no {lacking}; a {wanted} has them: save the pipeline again")
    if os.path.isdir(model_source(model.base)) or is_offline_mode():
        check_files(index.parent, components)


def check_denoiser(model: ModelSettings) -> None:
    """Raise ModelError if a local denoiser's weights differ from what its config implies; only headers are read."""
    family, folder = family_of(model), Path(model_source(model.base))
    if model.base in BASES or not (folder / family.denoiser_name).is_dir():
        return
    stored = stored_shapes(folder / family.denoiser_name)
    expected = {name: tuple(weight.shape) for name, weight in family.empty_denoiser(folder).named_parameters()}
    wrong = [name for name, shape in expected.items() if stored.get(name) != shape]
    if wrong:
        raise ModelError(
            f"model.base: {len(wrong)} of {len(expected)} weights of {str(folder / family.denoiser_name)!r} are "
            f"missing or of another shape than its config.json says, {wrong[0]} first; save the pipeline, or download "
            "it, again"
        )


def check_loss(model: ModelSettings, settings: LossSettings) -> None:
    """Raise ModelError if the family cannot be fine-tuned with these settings."""
    if settings.min_snr_gamma is not None and not family_of(model).has_snr:
        raise ModelError(
            f"finetune.min_snr_gamma is {settings.min_snr_gamma}, but {model.family} is trained by flow matching, for "
            "which Min-SNR is not defined; set finetune.min_snr_gamma=null"
        )


def open_tokenizer(model: ModelSettings) -> PromptTokenizer:
    """Open the tokenizer that limits a prompt's length, without networks; raise ModelError if it is broken."""
    family = family_of(model)
    return open_prompt_tokenizer(model.base, model.revision, family.tokenizer_name, family.max_tokens)


def load_model(model: ModelSettings) -> DiffusionModel:
    """Open a base model, or raise ModelError if it is missing, incomplete or of another family."""
    check_model(model)
    return family_of(model).open(model)
