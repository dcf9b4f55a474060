"""Each network of a model holds the tensors that its config implies, by name, shape and type."""

import json
import re
import shutil

import pytest
import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection, RobertaConfig, RobertaModel, T5EncoderModel

from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.model_folder import check_components, component_class, weight_files
from rsidiff_kedro.diffusion.model_weights import check_network
from rsidiff_kedro.diffusion.opening import check_model
from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.scenes import BASE_FOLDER

NETWORKS = {
    ("stable_diffusion", "unet"): UNet2DConditionModel,
    ("stable_diffusion", "vae"): AutoencoderKL,
    ("stable_diffusion", "text_encoder"): CLIPTextModel,
    ("stable_diffusion_xl", "text_encoder_2"): CLIPTextModelWithProjection,
    ("stable_diffusion_3", "text_encoder_3"): T5EncoderModel,
    ("stable_diffusion_3", "transformer"): SD3Transformer2DModel,
}


def change(component, kind, edit):
    """Edit the tensors of a network in one file."""
    (path,) = weight_files(component, kind)
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, {"format": "pt"})


def a_matrix(tensors):
    """Return the name of a weight that every network needs."""
    return sorted(name for name, tensor in tensors.items() if tensor.ndim > 1)[0]


def cast(kind):
    return lambda tensors: tensors.update({a_matrix(tensors): tensors[a_matrix(tensors)].to(kind)})


def shorten(tensors):
    tensors[a_matrix(tensors)] = tensors[a_matrix(tensors)][:1].contiguous()


FAULTS = {
    "no tensor": (dict.clear, "it lacks"),
    "one less": (lambda tensors: tensors.pop(a_matrix(tensors)), "it lacks 1 of"),
    "one more": (lambda tensors: tensors.update(surplus=torch.ones(2)), "has too many: 1 of"),
    "a scale": (lambda tensors: tensors.update({f"{a_matrix(tensors)}_scale": torch.ones(1)}), "has too many: 1 of"),
    "a shape": (shorten, "has other shapes for 1 of"),
    "int8 without scales": (cast(torch.int8), "has no floating-point numbers in 1 of"),
    "float8 without scales": (cast(torch.float8_e4m3fn), "has no floating-point numbers in 1 of"),
    "zeros": (lambda tensors: tensors[a_matrix(tensors)].zero_(), "has nothing but zeros in 1 of"),
    "booleans": (cast(torch.bool), "has no floating-point numbers in 1 of"),
}


@pytest.fixture
def network(request, family_folder, tmp_path):
    """Return a copy of a network's folder, and its class."""
    family, name = request.param
    return shutil.copytree(family_folder(family) / name, tmp_path / name), NETWORKS[request.param]


each_network = pytest.mark.parametrize("network", NETWORKS, indirect=True, ids="-".join)


@each_network
@pytest.mark.parametrize("fault", FAULTS)
def test_tensors_that_the_config_does_not_imply_are_refused(network, fault):
    component, kind = network
    check_network(component, kind)
    edit, says = FAULTS[fault]
    change(component, kind, edit)
    with pytest.raises(ModelError, match=says):
        check_network(component, kind)


@each_network
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_may_have_any_floating_point_type(network, dtype):
    component, kind = network
    change(component, kind, lambda tensors: tensors.update({name: each.to(dtype) for name, each in tensors.items()}))
    check_network(component, kind)


@each_network
def test_weights_in_parts_are_all_looked_at(network):
    component, kind = network
    (path,) = weight_files(component, kind)
    kind.from_pretrained(component).save_pretrained(component, max_shard_size="8KB")
    path.unlink(missing_ok=True)
    parts = weight_files(component, kind)
    assert len(parts) > 1
    check_network(component, kind)
    tensors = load_file(parts[0])
    lost = tensors.pop(sorted(tensors)[0])
    save_file(tensors, parts[0], {"format": "pt"})
    with pytest.raises(ModelError, match="do not agree on"):
        check_network(component, kind)
    save_file({**tensors, "another": lost}, parts[0], {"format": "pt"})
    with pytest.raises(ModelError, match="do not agree on another"):
        check_network(component, kind)


def old_names(tensors):
    """Rename an autoencoder's attention to the names of 2022, as Stable Diffusion 1.4 was published."""
    pairs = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for name in [name for name in tensors if ".attentions." in name]:
        new = name
        for now, before in pairs.items():
            new = new.replace(now, before)
        tensors[new] = tensors.pop(name)


def old_text_encoder(tensors):
    """Store the positions, as Stable Diffusion 1.4 was published, and name tensors as then."""
    for name in list(tensors):
        tensors[f"text_model.{name.removeprefix('text_model.')}"] = tensors.pop(name)
    tensors["text_model.embeddings.position_ids"] = torch.arange(16)[None]


PUBLISHED = {
    "old names": (("stable_diffusion", "vae"), old_names),
    "stored positions": (("stable_diffusion", "text_encoder"), old_text_encoder),
    "a decoder beside": (
        ("stable_diffusion_3", "text_encoder_3"),
        lambda tensors: tensors.update({"decoder.final_layer_norm.weight": torch.ones(32)}),
    ),
    "a tied weight twice": (
        ("stable_diffusion_3", "text_encoder_3"),
        lambda tensors: tensors.update({"encoder.embed_tokens.weight": tensors["shared.weight"].clone()}),
    ),
}


@pytest.mark.parametrize(("network", "edit"), PUBLISHED.values(), indirect=["network"], ids=PUBLISHED)
def test_files_as_they_were_published_pass_and_are_loaded_whole(network, edit):
    component, kind = network
    before = kind.from_pretrained(component).state_dict()
    change(component, kind, edit)
    check_network(component, kind)
    after = kind.from_pretrained(component).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def zero(pattern):
    """Return a function that makes all tensors zero whose names match."""
    return lambda tensors: [tensors[name].zero_() for name in tensors if re.search(pattern, name)]


def copied(family_folder, tmp_path, family, name):
    """Return a copy of a network's folder, and its class."""
    kind = component_class(name, *check_components(family_folder(family))[name])
    return shutil.copytree(family_folder(family) / name, tmp_path / family / name), kind


SCALES = [*((family, name) for family, name in NETWORKS if name != "transformer"), ("sana", "vae")]


@pytest.mark.parametrize(("family", "name"), SCALES)
def test_a_norm_whose_scale_is_zero_is_refused(family_folder, tmp_path, family, name):
    component, kind = copied(family_folder, tmp_path, family, name)
    change(component, kind, zero(r"norm.*weight"))
    (path,) = weight_files(component, kind)
    scales = [name for name in load_file(path) if re.search(r"norm.*weight", name)]
    assert scales
    with pytest.raises(ModelError, match=f"has nothing but zeros in {len(scales)} of"):
        check_network(component, kind)


@pytest.mark.parametrize(
    ("family", "name", "pattern"),
    [("stable_diffusion", "unet", "bias"), ("sana", "text_encoder", r"norm.*weight")],  # Gemma adds 1 to its scales
)
def test_zeros_that_mean_something_pass(family_folder, tmp_path, family, name, pattern):
    component, kind = copied(family_folder, tmp_path, family, name)
    change(component, kind, zero(pattern))
    check_network(component, kind)


@pytest.mark.parametrize(("first", "last"), [(30, 31), (20, 40)])
def test_weights_of_which_pages_were_never_written_are_refused(tmp_path, first, last):
    """Also inside a tensor."""
    component = shutil.copytree(BASE_FOLDER / "unet", tmp_path / "unet")
    check_network(component, UNet2DConditionModel)
    (path,) = weight_files(component, UNet2DConditionModel)
    content = bytearray(path.read_bytes())
    content[first * 4096 : last * 4096] = bytes((last - first) * 4096)
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"was not written from byte {first * 4096} to {last * 4096}"):
        check_network(component, UNet2DConditionModel)


def test_zeros_that_were_published_pass(tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    network = RobertaModel(RobertaConfig(vocab_size=8, max_position_embeddings=8, type_vocab_size=1, **sizes))
    torch.nn.init.zeros_(network.embeddings.token_type_embeddings.weight)
    network.save_pretrained(tmp_path)
    check_network(tmp_path, RobertaModel)


def test_a_tied_weight_that_is_stored_twice_must_be_the_same(family_folder, tmp_path):
    component = shutil.copytree(family_folder("stable_diffusion_3") / "text_encoder_3", tmp_path / "t5")

    def store(tensors):
        tensors["encoder.embed_tokens.weight"] = tensors["shared.weight"] * 2

    change(component, T5EncoderModel, store)
    with pytest.raises(ModelError, match=r"as encoder\.embed_tokens\.weight and as shared\.weight, and they differ"):
        check_network(component, T5EncoderModel)


def both_names(tensors):
    """Name one tensor of an autoencoder as in 2022, too."""
    name = next(name for name in tensors if name.endswith("attentions.0.to_q.weight"))
    tensors[name.replace("to_q", "query")] = tensors[name] + 1


def both_prefixes(tensors):
    """Store one tensor of a text encoder with and without the name of the whole."""
    name = next(name for name in tensors if name.endswith("final_layer_norm.weight")).removeprefix("text_model.")
    tensors[f"text_model.{name}"], tensors[name] = torch.ones(16), torch.zeros(16)


@pytest.mark.parametrize(
    ("network", "edit"),
    [(("stable_diffusion", "vae"), both_names), (("stable_diffusion", "text_encoder"), both_prefixes)],
    indirect=["network"],
)
def test_a_tensor_under_two_names_is_refused(network, edit):
    component, kind = network
    change(component, kind, edit)
    with pytest.raises(ModelError, match="has too many: 1 of"):
        check_network(component, kind)


@pytest.mark.parametrize(("family", "name"), [*NETWORKS][1:5])
def test_every_network_of_a_family_is_checked_before_a_run(family_folder, tmp_path, family, name):
    folder = shutil.copytree(family_folder(family), tmp_path / "model")
    settings = ModelSettings(family=family, base=str(folder))
    check_model(settings)
    change(folder / name, NETWORKS[family, name], dict.clear)
    with pytest.raises(ModelError, match=f"{name}' does not hold the tensors that its config.json implies: it lacks"):
        check_model(settings)


def test_a_network_that_is_left_out_need_not_be_whole(family_folder, tmp_path):
    folder = shutil.copytree(family_folder("stable_diffusion_3"), tmp_path / "model")
    change(folder / "text_encoder_3", T5EncoderModel, dict.clear)
    check_model(ModelSettings(family="stable_diffusion_3", base=str(folder), options={"t5": False}))


@pytest.mark.parametrize("network", [("stable_diffusion", "text_encoder")], indirect=True)
def test_the_file_that_the_library_loads_is_the_one_that_is_looked_at(network):
    component, kind = network
    shutil.copy(component / "model.safetensors", component / "diffusion_pytorch_model.safetensors")
    shutil.copy(component / "model.safetensors", component / "model.fp16.safetensors")
    change(component, kind, dict.clear)
    with pytest.raises(ModelError, match="it lacks"):
        check_network(component, kind)


@pytest.mark.parametrize("network", [("stable_diffusion", "vae")], indirect=True)
def test_a_config_of_which_no_network_can_be_built_is_refused(network):
    component, kind = network
    config = json.loads((component / "config.json").read_text())
    (component / "config.json").write_text(json.dumps(config | {"norm_num_groups": 7}))
    with pytest.raises(ModelError, match="no network can be built from the config"):
        check_network(component, kind)
