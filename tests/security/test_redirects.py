"""A component's files are its own: nothing in a model's folder has a library load others, or another class."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from kedro.io import DatasetError
from safetensors.torch import load_file, save_file

from rsidiff_kedro.datasets import PretrainedDataset
from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.opening import check_model, load_model
from rsidiff_kedro.diffusion.prompt_tokenizer import open_named_tokenizer, open_prompt_tokenizer
from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.rewards.sources import CheckpointError
from rsidiff_kedro.rewards.tokenizers import open_clip_tokenizer
from rsidiff_kedro.scenes import BASE_FOLDER


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another model, with other weights and another order of words."""
    folder = Path(shutil.copytree(BASE_FOLDER, tmp_path / "other"))
    weights = load_file(folder / "text_encoder" / "model.safetensors")
    changed = {name: tensor + 1 for name, tensor in weights.items()}
    save_file(changed, folder / "text_encoder" / "model.safetensors", {"format": "pt"})
    tokenizer = json.loads((folder / "tokenizer" / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    one, two = list(words)[20:22]
    words[one], words[two] = words[two], words[one]
    (folder / "tokenizer" / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the shipped model, to be tampered with."""
    return Path(shutil.copytree(BASE_FOLDER, tmp_path / "model"))


def edit(path: Path, **entries: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | entries), encoding="utf-8")


def an_adapter_in_place_of_the_config(model: Path, other: Path) -> None:
    for path in (model / "text_encoder").iterdir():
        path.unlink()
    an_adapter_beside_the_config(model, other)


def an_adapter_beside_the_config(model: Path, other: Path) -> None:
    adapter = {
        "peft_type": "LORA",
        "base_model_name_or_path": str(other / "text_encoder"),
        "target_modules": ["q_proj"],
    }
    (model / "text_encoder" / "adapter_config.json").write_text(json.dumps(adapter))


def an_adapter_of_the_denoiser(model: Path, other: Path) -> None:
    (model / "unet" / "adapter_config.json").write_text("{}")


def another_file_of_weights(model: Path, other: Path) -> None:
    shutil.copy(other / "text_encoder" / "model.safetensors", model / "text_encoder" / "other.safetensors")
    edit(model / "text_encoder" / "config.json", transformers_weights="other.safetensors")


def a_distributed_checkpoint(model: Path, other: Path) -> None:
    name = "shard-00001-model-00001-of-00001.safetensors"
    shutil.copy(other / "text_encoder" / "model.safetensors", model / "text_encoder" / name)


def a_quantized_text_encoder(model: Path, other: Path) -> None:
    edit(model / "text_encoder" / "config.json", quantization_config={"quant_method": "fp8"})


def a_quantized_denoiser(model: Path, other: Path) -> None:
    edit(model / "unet" / "config.json", quantization_config={"quant_method": "torchao", "quant_type": "int8wo"})


def a_linked_component(model: Path, other: Path) -> None:
    shutil.rmtree(model / "text_encoder")
    (model / "text_encoder").symlink_to(other / "text_encoder")


def a_linked_file(model: Path, other: Path) -> None:
    (model / "text_encoder" / "model.safetensors").unlink()
    (model / "text_encoder" / "model.safetensors").symlink_to("../../other/text_encoder/model.safetensors")


def a_linked_config(model: Path, other: Path) -> None:
    (model / "scheduler" / "scheduler_config.json").unlink()
    (model / "scheduler" / "scheduler_config.json").symlink_to(other / "scheduler" / "scheduler_config.json")


def a_link_to_nothing(model: Path, other: Path) -> None:
    (model / "unet" / "more.json").symlink_to("nowhere")


def a_config_that_is_a_link_to_nothing(model: Path, other: Path) -> None:
    (model / "config.json").symlink_to("nowhere")


def a_component_that_is_a_link_to_nothing(model: Path, other: Path) -> None:
    shutil.rmtree(model / "scheduler")
    (model / "scheduler").symlink_to("nowhere")


def a_linked_checkpoint(model: Path, other: Path) -> None:
    (model / "v1-5-pruned.safetensors").symlink_to(other / "text_encoder" / "model.safetensors")


def a_tokenizer_of_another_version(model: Path, other: Path) -> None:
    (other / "tokenizer" / "tokenizer.json").rename(other / "tokenizer" / "tokenizer.4.0.0.json")
    name = "../../other/tokenizer/tokenizer.4.0.0.json"
    edit(model / "tokenizer" / "tokenizer_config.json", fast_tokenizer_files=["tokenizer.json", name])


def without_a_tokenizer_of_its_own(model: Path, **entries: object) -> None:
    (model / "tokenizer" / "tokenizer.json").rename(model / "tokenizer" / "spiece.model")
    edit(model / "tokenizer" / "tokenizer_config.json", **entries)


def words_and_merges_elsewhere(model: Path, other: Path) -> None:
    without_a_tokenizer_of_its_own(model, vocab=str(other / "vocab.json"), merges=str(other / "merges.txt"))


def arguments_of_a_tokenizer(model: Path, other: Path) -> None:
    without_a_tokenizer_of_its_own(model, init_inputs=[str(other / "vocab.json"), str(other / "merges.txt")])


def a_tokenizer_in_a_gguf_file(model: Path, other: Path) -> None:
    without_a_tokenizer_of_its_own(model, gguf_file=str(other / "tokenizer.gguf"), name_or_path="someone/else")


def special_tokens_that_are_files(model: Path, other: Path) -> None:
    path = str(other / "tokenizer" / "tokenizer.json")
    (model / "tokenizer" / "special_tokens_map.json").write_text(json.dumps({"tokenizer_file": path}))


def flash_attention(model: Path, other: Path) -> None:
    """Without its package, transformers takes it from the hub."""
    edit(model / "text_encoder" / "config.json", attn_implementation="flash_attention_2")


def links_in_a_circle(model: Path, other: Path) -> None:
    (model / "unet" / "more.json").symlink_to("more.json")


def a_component_outside(model: Path, other: Path) -> None:
    edit(model / "model_index.json", **{"../other/unet": ["diffusers", "UNet2DConditionModel"]})


SAYS = {
    an_adapter_in_place_of_the_config: "weights of another model",
    an_adapter_beside_the_config: "weights of another model",
    an_adapter_of_the_denoiser: "weights of another model",
    another_file_of_weights: "another file of weights",
    a_distributed_checkpoint: "part of a distributed checkpoint",
    a_quantized_text_encoder: "quantized weights",
    a_quantized_denoiser: "quantized weights",
    a_linked_component: "a link out of the model's folder",
    a_linked_file: "a link out of the model's folder",
    a_linked_config: "a link out of the model's folder",
    a_link_to_nothing: "or to nothing",
    a_config_that_is_a_link_to_nothing: "or to nothing",
    a_component_that_is_a_link_to_nothing: "or to nothing",
    a_linked_checkpoint: "a link out of the model's folder",
    words_and_merges_elsewhere: r"\(vocab\) in place of its own",
    arguments_of_a_tokenizer: r"\(init_inputs\) in place of its own",
    a_tokenizer_in_a_gguf_file: r"\(gguf_file\) in place of its own",
    special_tokens_that_are_files: "'tokenizer_file', which is no special token",
    flash_attention: "of another package or from the hub",
    links_in_a_circle: "or to nothing",
    a_tokenizer_of_another_version: "do not lie beside it",
    a_component_outside: "a component is a class of diffusers or transformers",
}


@pytest.mark.parametrize("redirect", SAYS, ids=lambda redirect: redirect.__name__)
def test_what_leads_out_of_a_component_is_refused(
    model: Path, other: Path, redirect: Callable[[Path, Path], None]
) -> None:
    redirect(model, other)
    settings = ModelSettings(base=str(model))
    for refuse in (check_model, load_model, lambda _: open_prompt_tokenizer(str(model))):
        with pytest.raises(ModelError, match=SAYS[redirect]):
            refuse(settings)
    with pytest.raises(DatasetError, match=SAYS[redirect]):
        PretrainedDataset(filepath=model, class_name="diffusers.StableDiffusionPipeline").load()


def where_it_came_from(model: Path, other: Path) -> None:
    for name in ("text_encoder/config.json", "unet/config.json", "tokenizer/tokenizer_config.json", "model_index.json"):
        part = Path(name).parent
        edit(model / name, _name_or_path=str(other / part), name_or_path=str(other / part))


def code_that_comes_with_it(model: Path, other: Path) -> None:
    for name in ("text_encoder/config.json", "unet/config.json", "tokenizer/tokenizer_config.json"):
        edit(model / name, auto_map={"AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]})


def files_of_a_tokenizer(model: Path, other: Path) -> None:
    path = str(other / "tokenizer" / "tokenizer.json")
    edit(model / "tokenizer" / "tokenizer_config.json", tokenizer_file=path, vocab_file=path, merges_file=path)


def a_link_within(model: Path, other: Path) -> None:
    (model / "unet").rename(model / "denoiser")
    (model / "unet").symlink_to("denoiser")


def what_file_managers_leave(model: Path, other: Path) -> None:
    for name in ("._config.json", "._model.safetensors.index.json", "._x.json"):
        (model / "text_encoder" / name).write_bytes(b"\x00\x05\x16\x07")


def a_deleted_checkpoint(model: Path, other: Path) -> None:
    (model / "v1-5-pruned.ckpt").symlink_to("../../blobs/deleted")


@pytest.mark.parametrize(
    "entry",
    [
        where_it_came_from,
        code_that_comes_with_it,
        files_of_a_tokenizer,
        a_link_within,
        what_file_managers_leave,
        a_deleted_checkpoint,
    ],
)
def test_what_leads_nowhere_is_loaded_as_if_it_were_not_there(
    model: Path, other: Path, entry: Callable[[Path, Path], None]
) -> None:
    entry(model, other)
    opened, shipped = load_model(ModelSettings(base=str(model))), load_model(ModelSettings(base=str(BASE_FOLDER)))
    texts = ["a red circle left of a blue square"]
    assert opened.encode_prompts(texts)["prompt_embeds"].equal(shipped.encode_prompts(texts)["prompt_embeds"])


@pytest.mark.parametrize(
    ("component", "named"),
    [
        ("unet", ["diffusers", "UNet2DModel"]),
        ("vae", ["diffusers", "AutoencoderTiny"]),
        ("text_encoder", ["transformers", "GPT2Model"]),
        ("tokenizer", ["transformers", "BertTokenizer"]),
        ("tokenizer", ["transformers", "CLIPTextModel"]),
        ("text_encoder", ["transformers", "NoSuchModel"]),
        ("unet", ["diffusers", "models"]),
        ("scheduler", ["diffusers", "UNet2DConditionModel"]),
        ("scheduler", ["diffusers", "OnnxRuntimeModel"]),
    ],
)
def test_a_class_that_the_pipeline_does_not_take(model: Path, component: str, named: list[str]) -> None:
    edit(model / "model_index.json", **{component: named})
    with pytest.raises(ModelError, match=rf"{component}(;|, which| is a)|as {component}"):
        check_model(ModelSettings(base=str(model)))


def test_a_folder_of_the_hubs_cache_is_read_through_its_links(tmp_path: Path) -> None:
    repository = tmp_path / "models--someone--small"
    snapshot = repository / "snapshots" / ("0" * 40)
    shutil.copytree(BASE_FOLDER, snapshot)
    (repository / "blobs").mkdir()
    for number, path in enumerate(sorted(path for path in snapshot.rglob("*") if path.is_file())):
        path.rename(repository / "blobs" / str(number))
        path.symlink_to(os.path.relpath(repository / "blobs" / str(number), path.parent))
    check_model(ModelSettings(base=str(snapshot)))

    shared = tmp_path / "blobs"
    shared.mkdir()
    for blob in (repository / "blobs").iterdir():
        blob.rename(shared / blob.name)
        blob.symlink_to(os.path.relpath(shared / blob.name, blob.parent))
    with pytest.raises(ModelError, match="is a link out of the model's folder"):
        check_model(ModelSettings(base=str(snapshot)))
    (shared / ".huggingface-shared-blobs").write_text("1\n")  # as the hub's client marks its store of all repositories
    check_model(ModelSettings(base=str(snapshot)))


def test_a_tokenizer_of_a_reward(tmp_path: Path, other: Path) -> None:
    folder = shutil.copytree(BASE_FOLDER / "tokenizer", tmp_path / "model" / "tokenizer")
    size = len(open_prompt_tokenizer("scenes"))
    assert open_clip_tokenizer(str(folder), size)
    a_tokenizer_of_another_version(tmp_path / "model", other)
    with pytest.raises(CheckpointError, match="do not lie beside it"):
        open_clip_tokenizer(str(folder), size)
    with pytest.raises(ModelError, match="do not lie beside it"):
        open_named_tokenizer(str(folder))


@pytest.mark.parametrize("entries", [{"eos_token_id": [1, 2]}, {"return_dict": False}])
def test_a_config_that_breaks_a_text_encoder_is_told_in_one_line(model: Path, entries: dict[str, object]) -> None:
    edit(model / "text_encoder" / "config.json", **entries)
    with pytest.raises(ModelError, match="cannot be opened") as caught:
        load_model(ModelSettings(base=str(model)))
    assert str(caught.value).count("model.base") == 1


def test_special_tokens_and_common_entries_of_a_tokenizer_are_read(model: Path) -> None:
    (model / "tokenizer" / "special_tokens_map.json").write_text(
        json.dumps({"bos_token": "<|startoftext|>", "additional_special_tokens": [], "image_token": "<|endoftext|>"})
    )
    edit(model / "tokenizer" / "tokenizer_config.json", init_inputs=[], vocab_file=None, gguf_file=None)
    edit(model / "text_encoder" / "config.json", _attn_implementation="sdpa", _attn_implementation_autoset=True)
    check_model(ModelSettings(base=str(model)))
