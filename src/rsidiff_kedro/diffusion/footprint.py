"""Estimate a base model's disk and memory from its configs and the headers of its weights."""

import math
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from huggingface_hub import hf_hub_download

from rsidiff_kedro.core.hub import pinned
from rsidiff_kedro.diffusion.families import family_of, loaded_components
from rsidiff_kedro.diffusion.model import ModelSettings
from rsidiff_kedro.diffusion.model_folder import NETWORKS, model_source, stored_shapes

OPTIMIZER_BYTES = 20
"""Per trained parameter: itself, its gradient, AdamW's two moments and the moving average, float32 each."""


def fetch_configs(model: ModelSettings) -> Path:
    """Return the model's folder, in the hub's cache for a hub id; raise OSError if its configs cannot be downloaded."""
    source = model_source(model.base)
    if Path(source).is_dir():
        return Path(source)
    names = ("model_index.json", f"{family_of(model).denoiser_name}/config.json", "vae/config.json")
    paths = [hf_hub_download(source, name, revision=pinned(source, model.revision)) for name in names]
    return Path(paths[0]).parent


def component_parameters(folder: Path, model: ModelSettings) -> dict[str, int]:
    """Count the parameters of each network of a pipeline, by component; 0 if its weights are missing."""
    networks = sorted(NETWORKS & loaded_components(folder, model))
    return {name: sum(map(math.prod, stored_shapes(folder / name).values())) for name in networks}


def adapter_parameters(folder: Path, model: ModelSettings, rank: int, layers: str) -> int:
    """Count the parameters of a LoRA adapter of this rank on these layers."""
    family = family_of(model)
    with torch.device("meta"):
        denoiser = family.empty_denoiser(folder)
        denoiser.add_adapter(family.lora_config(rank, layers))
    return sum(weight.numel() for name, weight in denoiser.named_parameters() if "lora_" in name)


def own_resolution(folder: Path, model: ModelSettings) -> int:
    """Return the pixels per side of the images that the model was trained for."""
    family, config = family_of(model), AutoencoderKL.load_config(folder / "vae")
    blocks = config.get("block_out_channels") or config["encoder_block_out_channels"]
    return family.trained_side(family.empty_denoiser(folder).config) * 2 ** (len(blocks) - 1)
