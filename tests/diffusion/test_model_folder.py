"""A base model is checked before anything is computed with it."""

import json
import shutil

import huggingface_hub.constants
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from rsidiff_kedro.core.hub import commit_of
from rsidiff_kedro.diffusion.bases import ModelError, check_known
from rsidiff_kedro.diffusion.opening import check_model, load_model
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings


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
    tokenizer = load_model(model).tokenizer
    assert tokenizer.count(["a red circle", "", "a " * 40]) == [5, 2, 42]
    assert tokenizer.max_tokens == 16


@pytest.fixture
def hub_cache(model_folder, tmp_path, monkeypatch):
    """Return the cache of the hub, which cannot be asked, with one model: `someone/small` at the revision `main`."""
    commit = "0" * 40
    repository = tmp_path / "hub" / "models--someone--small"
    shutil.copytree(model_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    commit_of.cache_clear()
    yield tmp_path / "hub"
    commit_of.cache_clear()


def name_in_index(folder, *components):
    index = json.loads((folder / "model_index.json").read_text())
    index |= {component: ["transformers", "Something"] for component in components}
    (folder / "model_index.json").write_text(json.dumps(index))


def test_components_that_are_left_out_may_be_missing(copy):
    name_in_index(copy, "safety_checker", "feature_extractor", "image_encoder")
    model = ModelSettings(base=str(copy))
    check_model(model)
    assert load_model(model).pipeline.safety_checker is None


def spoil_weights(folder, change):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def truncate(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def break_config(folder):
    (folder / "unet" / "config.json").write_text("{")


def lose_a_tensor(folder):
    spoil_weights(folder, lambda tensors: tensors.pop("conv_in.weight"))


def lose_the_token_limit(folder):
    path = folder / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 10**30}))


@pytest.mark.parametrize("spoil", [truncate, break_config, lose_a_tensor, lose_the_token_limit])
def test_a_broken_model_ends_in_one_line(copy, spoil):
    spoil(copy)
    with pytest.raises(ModelError, match=r"model\.base"):
        load_model(ModelSettings(base=str(copy)))


def test_weights_of_a_variant_alone_are_not_enough(copy):
    path = copy / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert "lacks unet" in message(copy)


def test_a_tokenizer_without_its_vocabulary_is_refused(copy):
    for name in ("tokenizer.json", "vocab.json"):
        (copy / "tokenizer" / name).unlink(missing_ok=True)
    assert "lacks tokenizer" in message(copy)


def test_a_model_of_nan_is_stopped_at_its_first_image(copy):
    spoil_weights(copy, lambda tensors: tensors["conv_in.weight"].fill_(float("nan")))
    prompts = pd.DataFrame({"prompt_id": ["aa"], "text": ["a red circle"]})
    opened = load_model(ModelSettings(base=str(copy)))
    with pytest.raises(ModelError, match="NaN or infinite"):
        sample_images(opened, None, prompts, 1, SamplerSettings(num_inference_steps=1), 0, "test", "generating")


def edit(path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scaling_factor", value)
        for value in (NAN, INFINITY, 0, 0.0, -1.0, 1e30, 1e-30, 10**30, 1e3, 1e-3, None, "0.18", True)
    ]
    + [("shift_factor", value) for value in (NAN, -INFINITY, 900.0, "0.1", True, [0.1])]
    + [("latents_mean", value) for value in (NAN, [0.0] * 3, [0.0, 0.0, 0.0, NAN], [[0.0] * 4], 0.1)]
    + [("latents_std", value) for value in ([1.0] * 5, [1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, -1.0])],
)
def test_a_scale_of_latents_that_cannot_be_is_refused(copy, name, value):
    edit(copy / "vae" / "config.json", **{name: value})
    assert f"says {name} = " in message(copy)


@pytest.mark.parametrize(
    "scale",
    [
        {"scaling_factor": 0.13025},
        {"scaling_factor": 1.5305, "shift_factor": 0.0609},
        {"scaling_factor": 1, "shift_factor": 0.0},
        {"latents_mean": [0.5, -1.0, 2.0, 0.0], "latents_std": [3.0, 2.5, 1.0, 0.5]},
    ],
)
def test_a_published_scale_of_latents_passes(copy, scale):
    edit(copy / "vae" / "config.json", **scale)
    check_model(ModelSettings(base=str(copy)))


@pytest.mark.parametrize("name", ["unet/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json"])
def test_a_config_whose_numbers_are_not_finite_is_refused(copy, name):
    edit(copy / name, further=[NAN])
    assert "further = [nan], which no model has" in message(copy)


def test_a_pickle_in_place_of_safetensors_is_named(copy):
    (copy / "vae" / "diffusion_pytorch_model.safetensors").rename(copy / "vae" / "diffusion_pytorch_model.bin")
    assert "lacks vae" in message(copy)
    assert "diffusion_pytorch_model.bin is a pickle" in message(copy)


def test_a_hub_id_is_read_from_the_cache_without_a_network(hub_cache):
    assert load_model(ModelSettings(base="someone/small")).latent_shape == (4, 16, 16)


def test_a_half_downloaded_model_is_refused_without_a_network(hub_cache):
    next(hub_cache.rglob("unet/*.safetensors")).unlink()
    with pytest.raises(ModelError, match="lacks unet"):
        load_model(ModelSettings(base="someone/small"))


def test_a_model_of_the_hub_that_asks_for_foreign_code_is_refused(hub_cache):
    config = next(hub_cache.rglob("text_encoder/config.json"))
    config.write_text(json.dumps(json.loads(config.read_text()) | {"attn_implementation": "owner/kernel"}))
    with pytest.raises(ModelError, match="foreign code is not run"):
        load_model(ModelSettings(base="someone/small"))


def test_a_shipped_model_refuses_prompts_most_of_which_it_does_not_know() -> None:
    known, foreign = ["a red circle", "a blue square on a black background"], ["a fox in snow", "a ship", "a castle"]
    check_known("scenes", [*known, *foreign[:2]])
    check_known("owner/name", foreign)
    with pytest.raises(ModelError, match="3 of 5 are of no such kind"):
        check_known("scenes", [*known, *foreign])
