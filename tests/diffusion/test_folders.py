"""A base model is checked before anything is computed with it."""

import os
import shutil
import subprocess
import sys

import pytest

from rsidiff_kedro.diffusion.backbones import check_model, load_backbone
from rsidiff_kedro.diffusion.backbones.folders import ModelError
from rsidiff_kedro.diffusion.settings import ModelSettings


@pytest.fixture
def copy(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "copy")


def message(folder):
    with pytest.raises(ModelError) as caught:
        check_model(ModelSettings(base=str(folder)))
    return str(caught.value)


def test_a_whole_folder_passes(model):
    check_model(model)


def test_a_missing_folder_is_named(tmp_path):
    assert "there is no folder" in message(tmp_path / "nowhere")


def test_a_folder_without_index_is_no_pipeline(tmp_path):
    assert "model_index.json" in message(tmp_path)


@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_lacking_component_is_named(copy, component):
    shutil.rmtree(copy / component)
    assert f"lacks {component}" in message(copy)


def test_lacking_weights_are_named(copy):
    (copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert "lacks unet" in message(copy)


def test_an_index_that_is_no_json_is_named(copy):
    (copy / "model_index.json").write_text("{")
    assert "not JSON" in message(copy)


def test_an_index_without_components_is_refused(copy):
    (copy / "model_index.json").write_text("{}")
    assert "names no scheduler, text_encoder" in message(copy)


def test_tokens_are_counted_with_start_and_end_and_not_cut(model):
    backbone = load_backbone(model)
    assert backbone.count_tokens(["a red circle", "", "a " * 40]) == [5, 2, 42]
    assert backbone.max_tokens == 16


@pytest.fixture
def hub_cache(model_folder, tmp_path):
    """A hub cache with one model, `someone/small` at the revision `main`."""
    commit = "0" * 40
    repository = tmp_path / "hub" / "models--someone--small"
    shutil.copytree(model_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return tmp_path / "hub"


def load_offline(cache):
    code = (
        "from rsidiff_kedro.diffusion.backbones import load_backbone\n"
        "from rsidiff_kedro.diffusion.settings import ModelSettings\n"
        "print(load_backbone(ModelSettings(base='someone/small')).latent_shape)"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def test_a_hub_id_is_read_from_the_cache_without_a_network(hub_cache):
    assert load_offline(hub_cache).stdout == "(4, 16, 16)\n"


def test_a_half_downloaded_model_is_refused_without_a_network(hub_cache):
    next(hub_cache.rglob("unet/*.safetensors")).unlink()
    assert "lacks unet" in load_offline(hub_cache).stderr
