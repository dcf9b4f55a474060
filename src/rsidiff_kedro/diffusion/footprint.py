"""Estimate a base model's disk and memory from its configs and the headers of its weights."""

import json
import math
import re
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from huggingface_hub import hf_hub_download
from safetensors import safe_open

from rsidiff_kedro.diffusion.families import family_of
from rsidiff_kedro.diffusion.model import ModelSettings
from rsidiff_kedro.diffusion.model_folder import NETWORKS, model_source, weight_files

OPTIMIZER_BYTES = 20
"""Per trained parameter: itself, its gradient, AdamW's two moments and the moving average, float32 each."""


def fetch_configs(model: ModelSettings) -> Path:
    """Return the model's folder, or its snapshot in the hub's cache, after fetching its small configs there.

    Raises:
        OSError: the hub does not give them.
    """
    source = model_source(model.base)
    if Path(source).is_dir():
        return Path(source)
    names = ("model_index.json", f"{family_of(model).denoiser_name}/config.json", "vae/config.json")
    paths = [hf_hub_download(source, name, revision=model.revision) for name in names]
    return Path(paths[0]).parent


def component_parameters(folder: Path, model: ModelSettings) -> dict[str, int]:
    """Count the parameters of each network of a pipeline, by component; 0 if its weights are not there (yet)."""
    return {name: sum(map(_parameters, weight_files(folder / name))) for name in _networks(folder, model)}


def _networks(folder: Path, model: ModelSettings) -> list[str]:
    entries = json.loads((folder / "model_index.json").read_text())
    unused = {name for name, value in family_of(model).loading_options(model).items() if value is None}
    return [name for name in sorted(NETWORKS - unused) if (entries.get(name) or [None])[0] is not None]


def _parameters(path: Path) -> int:
    with safe_open(path, "pt") as tensors:
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118, no mapping


def adapter_parameters(folder: Path, model: ModelSettings, rank: int, layers: str) -> int:
    """Count the parameters of a LoRA adapter of this rank on these layers."""
    family = family_of(model)
    config = family.denoiser_class.load_config(folder / family.denoiser_name)
    with torch.device("meta"):
        denoiser = family.denoiser_class.from_config(config)
    targets = re.compile(family.lora_targets[layers])
    count = 0
    for name, module in denoiser.named_modules():
        if targets.fullmatch(name) and isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            outputs, inputs, *kernel = module.weight.shape
            count += rank * (inputs * math.prod(kernel) + outputs)
    return count


def own_resolution(folder: Path, model: ModelSettings) -> int:
    """Return the pixels per side of the images that the model was trained for."""
    family = family_of(model)
    denoiser = family.denoiser_class.load_config(folder / family.denoiser_name)
    autoencoder = AutoencoderKL.load_config(folder / "vae")
    return int(denoiser["sample_size"]) * 2 ** (len(autoencoder["block_out_channels"]) - 1)
