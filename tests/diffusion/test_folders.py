"""A base model is checked before anything is computed with it."""

import shutil

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
