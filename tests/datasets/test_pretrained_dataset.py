"""Networks on disk."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from kedro.io import DatasetError
from safetensors.torch import load_file

from rsidiff_kedro.datasets import PretrainedDataset
from rsidiff_kedro.scenes import BASE_FOLDER

PIPELINE = "diffusers.StableDiffusionPipeline"


def test_weights_are_stored_as_asked_and_read_into_float32(tmp_path: Path) -> None:
    saved = StableDiffusionPipeline.from_pretrained(BASE_FOLDER)
    dataset = PretrainedDataset(filepath=tmp_path / "base", class_name=PIPELINE, stored_dtype="float16")
    dataset.save(saved)
    stored = load_file(tmp_path / "base/text_encoder/model.safetensors")
    assert {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()} == {torch.float16}
    loaded = dataset.load()
    for name in ("unet", "vae", "text_encoder"):
        before, after = getattr(saved, name).state_dict(), getattr(loaded, name).state_dict()
        assert {tensor.dtype for tensor in after.values()} == {torch.float32}
        assert all(torch.allclose(before[key], after[key], rtol=1e-3, atol=1e-6) for key in before)


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    with pytest.raises(DatasetError, match="train it again"):
        PretrainedDataset(filepath=tmp_path / "base", class_name=PIPELINE).load()
