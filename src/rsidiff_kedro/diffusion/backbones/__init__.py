"""Families of diffusion models, one file each; `load_backbone` opens one by its settings."""

from pathlib import Path

import torch

from rsidiff_kedro.devices import OPENING
from rsidiff_kedro.diffusion.backbones.folders import ModelError, check_source, model_source, stored_shapes
from rsidiff_kedro.diffusion.backbones.pipeline import PipelineBackbone, find_device
from rsidiff_kedro.diffusion.backbones.stable_diffusion import StableDiffusionBackbone
from rsidiff_kedro.diffusion.backbones.stable_diffusion_3 import StableDiffusion3Backbone
from rsidiff_kedro.diffusion.backbones.stable_diffusion_xl import StableDiffusionXLBackbone
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings

__all__ = [
    "FAMILIES",
    "ModelError",
    "PipelineBackbone",
    "check_denoiser",
    "check_finetune",
    "check_model",
    "load_backbone",
]

FAMILIES: dict[str, type[PipelineBackbone]] = {
    "stable_diffusion": StableDiffusionBackbone,
    "stable_diffusion_xl": StableDiffusionXLBackbone,
    "stable_diffusion_3": StableDiffusion3Backbone,
}


def check_model(model: ModelSettings) -> None:
    """Raise ModelError unless device and family are there and the base model is one of it, with all its components."""
    find_device(model.device)
    family = _family(model)
    check_source(
        model,
        family.pipeline_class.__name__,
        family.components,
        frozenset(name for name, value in family.loading_options(model).items() if value is None),
        {each.pipeline_class.__name__: name for name, each in FAMILIES.items()},
    )


def check_denoiser(model: ModelSettings) -> None:
    """Raise ModelError if a local model's denoiser has other weights than its config asks for; none are read."""
    family = _family(model)
    folder = Path(model_source(model.base)) / family.denoiser_name
    if model.base == "scenes" or not folder.is_dir():
        return
    with torch.device("meta"):
        denoiser = family.denoiser_class.from_config(family.denoiser_class.load_config(folder))
    expected = {name: tuple(weight.shape) for name, weight in denoiser.named_parameters()}
    stored = stored_shapes(folder)
    wrong = [name for name, shape in expected.items() if stored.get(name) != shape]
    if wrong:
        raise ModelError(
            f"model.base: {len(wrong)} of {len(expected)} weights of {str(folder)!r} are not there or of another shape "
            f"than its config.json says, {wrong[0]} first; save the pipeline, or download it, again"
        )


def check_finetune(model: ModelSettings, settings: FinetuneSettings) -> None:
    """Raise ModelError if the family cannot be fine-tuned with these settings."""
    if settings.min_snr_gamma is not None and not _family(model).has_snr:
        raise ModelError(
            f"finetune.min_snr_gamma is {settings.min_snr_gamma}, but {model.family} is trained by flow matching, for "
            "which Min-SNR is not defined; set finetune.min_snr_gamma=null"
        )


def load_backbone(model: ModelSettings) -> PipelineBackbone:
    """Open a base model: the shipped one, a local folder or a hub id.

    Raises:
        ModelError: the model is missing, incomplete or of another family; the message names what is wrong.
    """
    check_model(model)
    with OPENING:
        return _family(model).open(model_source(model.base), model)


def _family(model: ModelSettings) -> type[PipelineBackbone]:
    if model.family not in FAMILIES:
        raise ModelError(f"model.family is {model.family!r}; there are {', '.join(FAMILIES)}")
    return FAMILIES[model.family]
