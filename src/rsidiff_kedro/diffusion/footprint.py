"""Estimate a base model's disk and memory from its configs and the headers of its weights."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from packaging.version import InvalidVersion, Version
from torch import nn

from rsidiff_kedro.core.files import size_of
from rsidiff_kedro.core.hub import hub_file
from rsidiff_kedro.diffusion.bases import model_source
from rsidiff_kedro.diffusion.lora import add_lora
from rsidiff_kedro.diffusion.model_folder import weight_files
from rsidiff_kedro.diffusion.model_weights import stored_tensors
from rsidiff_kedro.diffusion.opening import family_of
from rsidiff_kedro.diffusion.settings import LoraSettings, ModelSettings

OPTIMIZER_BYTES = 20
"""Per trained parameter: itself, its gradient, AdamW's two moments and the moving average, float32 each."""


def fetch_configs(model: ModelSettings) -> Path:
    """Return the model's folder, in the hub's cache for a hub id; raise OSError if its configs cannot be downloaded."""
    source = model_source(model.base)
    if Path(source).is_dir():
        return Path(source)
    names = ("model_index.json", f"{family_of(model).denoiser_name}/config.json", "vae/config.json")
    paths = [hub_file(source, name, model.revision) for name in names]
    return Path(paths[0]).parent


def networks(folder: Path, model: ModelSettings) -> dict[str, type[Any]]:
    """Return the class of each network of a pipeline, by component."""
    components = sorted(family_of(model).components_of(folder, model).items())
    return {name: kind for name, kind in components if issubclass(kind, nn.Module)}


def component_parameters(folder: Path, model: ModelSettings) -> dict[str, int]:
    """Count the parameters of each network of a pipeline, by component; 0 if its weights are missing."""
    return {name: _parameters(folder / name, kind) for name, kind in networks(folder, model).items()}


def _parameters(component: Path, kind: type[Any]) -> int:
    if not all(path.is_file() for path in weight_files(component, kind)):
        return 0
    return sum(math.prod(tensor.shape) for tensor in stored_tensors(component, kind).values())


def component_bytes(folder: Path, model: ModelSettings) -> dict[str, int]:
    """Return the size on disk of each network's weights, by component; 0 if they are missing."""
    files = {name: weight_files(folder / name, kind) for name, kind in networks(folder, model).items()}
    return {name: sum(map(size_of, paths)) for name, paths in files.items()}


def adapter_parameters(folder: Path, model: ModelSettings, settings: LoraSettings) -> int:
    """Count the parameters of a LoRA adapter."""
    family = family_of(model)
    with torch.device("meta"):
        denoiser = family.empty_denoiser(folder)
        add_lora(denoiser, settings, family.lora_targets[settings.layers])
    return sum(weight.numel() for name, weight in denoiser.named_parameters() if "lora_" in name)


def own_resolution(folder: Path, model: ModelSettings) -> int:
    """Return the pixels per side of the images that the model was trained for."""
    family, config = family_of(model), AutoencoderKL.load_config(folder / "vae")
    blocks = config.get("block_out_channels") or config["encoder_block_out_channels"]
    denoiser = family.empty_denoiser(folder).config
    side = family.trained_side(denoiser)
    if issubclass(family.pipeline_class, StableDiffusionPipeline) and _says_too_little(denoiser):
        side = 64
    return side * 2 ** (len(blocks) - 1)


def _says_too_little(denoiser: Mapping[str, Any]) -> bool:
    """Tell whether a UNet's config was saved by a version of diffusers of 2022, which wrote too small a size.

    `StableDiffusionPipeline` opens such a UNet with 64, that of Stable Diffusion 1.x.
    """
    try:
        saved_by = Version(str(denoiser.get("_diffusers_version")))
    except InvalidVersion:
        return False
    side = denoiser["sample_size"]
    return isinstance(side, int) and side < 64 and Version(saved_by.base_version) < Version("0.9.0.dev0")
