"""A small random Stable Diffusion pipeline in the official format."""

import pytest
import torch

from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.scenes.pretraining.autoencoder import build_autoencoder
from rsidiff_kedro.scenes.pretraining.denoiser import build_tokenizer
from rsidiff_kedro.scenes.pretraining.unet import UNetDenoiser, UNetSizes


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A folder that `save_pretrained` wrote."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    denoiser = UNetDenoiser(UNetSizes(channels=(16, 16), text_width=16, text_layers=1), tokenizer, (4, 16, 16))
    folder = tmp_path_factory.mktemp("model")
    denoiser.assemble(build_autoencoder((16, 16), 4), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model(model_folder):
    return ModelSettings(base=str(model_folder))
