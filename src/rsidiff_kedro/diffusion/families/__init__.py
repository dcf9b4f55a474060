"""Families of diffusion models, one file each; `load_model` opens one by its settings."""

from pathlib import Path

import torch
from pydantic import ValidationError

from rsidiff_kedro.core.registry import PluginError, Registry
from rsidiff_kedro.core.validation import WORDS
from rsidiff_kedro.diffusion.losses import LossSettings
from rsidiff_kedro.diffusion.model import DiffusionModel, ModelSettings, find_device
from rsidiff_kedro.diffusion.model_folder import BASES, ModelError, check_source, model_source, stored_shapes

_HERE = "rsidiff_kedro.diffusion.families"
_REASONS = {**WORDS, "extra_forbidden": "there is no such option; remove it"}
FAMILIES = Registry(
    "model family",
    "rsidiff_kedro.families",
    {
        "stable_diffusion": f"{_HERE}.stable_diffusion:StableDiffusion",
        "stable_diffusion_xl": f"{_HERE}.stable_diffusion_xl:StableDiffusionXL",
        "stable_diffusion_3": f"{_HERE}.stable_diffusion_3:StableDiffusion3",
    },
)


def family_of(model: ModelSettings) -> type[DiffusionModel]:
    """Return the class of `model.family`.

    Raises:
        ModelError: the name is unknown, or names something else.
    """
    try:
        family = FAMILIES.load(model.family)
    except PluginError as error:
        raise ModelError(f"model.family: {error}") from None
    if not isinstance(family, type) or not issubclass(family, DiffusionModel):
        raise ModelError(f"model.family: {model.family!r} is no model family; name a subclass of DiffusionModel")
    return family


def check_model(model: ModelSettings) -> None:
    """Raise ModelError unless device, family and base model exist, and the base has all components of the family."""
    find_device(model.device)
    family = family_of(model)
    try:
        family.options_of(model)
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(family.Options.model_fields) or "none"
        wrong = _REASONS.get(first["type"], first["msg"])
        raise ModelError(
            f"model.options: {'.'.join(map(str, first['loc']))} is {first['input']!r}: {wrong}; options of "
            f"{model.family}: {known}"
        ) from None
    left_out = frozenset(name for name, value in family.loading_options(model).items() if value is None)
    families = {FAMILIES.load(name).pipeline_class.__name__: name for name in FAMILIES.names}
    check_source(model.base, model.revision, family.pipeline_class.__name__, family.components, left_out, families)


def check_denoiser(model: ModelSettings) -> None:
    """Raise ModelError if a local denoiser's weights differ from what its config implies; only headers are read."""
    family = family_of(model)
    folder = Path(model_source(model.base)) / family.denoiser_name
    if model.base in BASES or not folder.is_dir():
        return
    with torch.device("meta"):
        denoiser = family.denoiser_class.from_config(family.denoiser_class.load_config(folder))
    expected = {name: tuple(weight.shape) for name, weight in denoiser.named_parameters()}
    stored = stored_shapes(folder)
    wrong = [name for name, shape in expected.items() if stored.get(name) != shape]
    if wrong:
        raise ModelError(
            f"model.base: {len(wrong)} of {len(expected)} weights of {str(folder)!r} are missing or of another shape "
            f"than its config.json says, {wrong[0]} first; save the pipeline, or download it, again"
        )


def check_loss(model: ModelSettings, settings: LossSettings) -> None:
    """Raise ModelError if the family cannot be fine-tuned with these settings."""
    if settings.min_snr_gamma is not None and not family_of(model).has_snr:
        raise ModelError(
            f"finetune.min_snr_gamma is {settings.min_snr_gamma}, but {model.family} is trained by flow matching, for "
            "which Min-SNR is not defined; set finetune.min_snr_gamma=null"
        )


def load_model(model: ModelSettings) -> DiffusionModel:
    """Open a base model: the shipped one, a local folder or a hub id.

    Raises:
        ModelError: the model is missing, incomplete or of another family; the message names what is wrong.
    """
    check_model(model)
    return family_of(model).open(model)
