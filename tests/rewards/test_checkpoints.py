"""Checkpoints and tokenizers of no use are refused with what is wrong before anything is computed; none runs code."""

import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import samples
from safetensors.torch import load_file, save_file

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.hub import commit_of
from rsidiff_kedro.rewards.protocol import record_changes
from rsidiff_kedro.rewards.registry import check_reward, check_settings, load_reward
from rsidiff_kedro.rewards.settings import DeviceError, RewardsSettings
from rsidiff_kedro.rewards.sources import CheckpointError

FILES = {"hpsv2_1": "HPS_v2.1_compressed.pt", "image_reward": "ImageReward.pt"}


@pytest.fixture(params=FILES)
def broken(request, folder: Path, tmp_path: Path, options):
    """A reward's name, its options with a checkpoint's copy, and that copy, to be broken."""
    shutil.copytree(folder / request.param, tmp_path / "copy")
    copy = tmp_path / "copy"
    return request.param, options[request.param] | {"checkpoint": str(copy)}, copy / FILES[request.param]


def message_of(name: str, options: dict) -> str:
    """What both the check before a run and the opening of the model say; they say the same."""
    messages = []
    for attempt in (check_reward, load_reward):
        with pytest.raises(CheckpointError) as caught:
            attempt(name, **options)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    return messages[0]


def edit(path: Path, change) -> None:
    """Save the checkpoint again after `change` was made to its tensors."""
    stored = torch.load(path, weights_only=True)
    change(stored.get("state_dict", stored))
    torch.save(stored, path)


def test_what_is_whole_passes_the_check(options):
    for name in options:
        check_reward(name, **options[name])


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="needs a machine without one")
def test_a_device_that_is_not_there_is_refused_with_those_that_are(options):
    with pytest.raises(DeviceError, match=r"rewards.device is 'mps', but torch has .*cpu here; set one or auto"):
        check_reward("hpsv2_1", **options["hpsv2_1"] | {"device": "mps"})


def test_errors_are_shown_in_one_line():
    assert issubclass(CheckpointError, InputError)


@pytest.mark.parametrize("source", ["~no_such_user/weights", "/" + "a" * 5000])
def test_what_can_be_no_path_is_a_missing_one(options, source):
    for name in FILES:
        assert f"there is no {source!r}; give a file" in message_of(name, options[name] | {"checkpoint": source})
        assert f"there is no tokenizer {source!r}" in message_of(name, options[name] | {"tokenizer": source})


def test_a_missing_path_is_named(broken):
    name, options, path = broken
    message = message_of(name, options | {"checkpoint": str(path) + "x"})
    assert f"there is no '{path}x'; give a file, a folder that holds {FILES[name]}, or a Hugging Face id" in message


def test_a_folder_without_the_file_is_answered_with_what_it_holds(broken):
    name, options, path = broken
    path.rename(path.with_name("other.pt"))
    assert f"has no {FILES[name]}; there are: config.json, " in message_of(name, options)


@pytest.mark.parametrize("official", ["HPS_v2_compressed.pt", "HPS_v2.1_compressed.pt", "ImageReward.pt"])
def test_a_file_with_the_official_name_of_another_model_is_refused(broken, official):
    name, options, path = broken
    other = path.rename(path.with_name(official))
    options = options | {"checkpoint": str(other)}
    if official == FILES[name]:
        check_reward(name, **options)
    else:
        message = message_of(name, options)
        assert f"'{other}' has the name of another model's official file, and {FILES[name]} is read here" in message


def test_a_file_of_ones_own_serves_each_version_alone_but_not_both(folder, tmp_path, options):
    for name in ("HPS_v2.1_compressed.pt", "config.json"):
        shutil.copy(folder / "hpsv2_1" / name, tmp_path / name.replace("HPS_v2.1_compressed", "mine"))
    own = options["hpsv2_1"] | {"checkpoint": str(tmp_path / "mine.pt")}
    settings = RewardsSettings(hpsv2={"checkpoint": str(tmp_path / "mine.pt")})
    for name in ("hpsv2_1", "hpsv2_0"):
        check_reward(name, **own)
        check_settings([name, "image_reward"], settings)
    with pytest.raises(InputError, match=r"mine.pt', which would serve both hpsv2_0 and hpsv2_1; give a folder"):
        check_settings(["hpsv2_1", "image_reward", "hpsv2_0"], settings)
    check_settings(["hpsv2_1", "hpsv2_0"], RewardsSettings(hpsv2={"checkpoint": str(tmp_path)}))


def test_an_empty_file_is_refused(broken):
    name, options, path = broken
    path.write_bytes(b"")
    assert f"{str(path)!r} is empty; download it again" in message_of(name, options)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_cut_file_is_refused(broken, share):
    name, options, path = broken
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    message = message_of(name, options)
    assert str(path) in message
    assert "checkpoint" in message


def test_a_page_in_place_of_the_file_is_refused(broken):
    name, options, path = broken
    path.write_bytes(b"<!DOCTYPE html>\n<p>404")
    assert "no checkpoint" in message_of(name, options)


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return Path.touch, (self.proof,)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 2))])
def test_a_pickle_that_runs_code_does_not_run_it(broken, tmp_path, save):
    name, options, path = broken
    save({"state_dict": {"a": torch.ones(1)}, "extra": Runs(tmp_path / "proof")}, path)
    assert "could run code and were not read; get the official file" in message_of(name, options)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize(
    "stored", [{}, [1, 2], {"state_dict": {"a": 1}}, torch.ones(3), {"epoch": 3}, {0: torch.ones(1)}]
)
def test_what_holds_no_tensors_by_name_is_refused(broken, stored):
    name, options, path = broken
    torch.save(stored, path)
    assert "holds no tensors by name" in message_of(name, options)


def test_a_tensor_under_two_names_is_refused(broken):
    name, options, path = broken
    old, new = {
        "hpsv2_1": ("visual.proj", "visual_projection.weight"),
        "image_reward": ("mlp.layers.0.bias", "head.layers.0.bias"),
    }[name]
    edit(path, lambda tensors: tensors.update({new: tensors[old].clone()}))
    assert f"holds {new!r} twice, under two names" in message_of(name, options)


def test_missing_tensors_are_named(broken):
    name, options, path = broken
    gone = {"hpsv2_1": "visual.transformer.resblocks.1.", "image_reward": "mlp."}[name]
    edit(path, lambda tensors: [tensors.pop(key) for key in list(tensors) if key.startswith(gone)])
    message = message_of(name, options)
    assert {"hpsv2_1": "lacks 16 of", "image_reward": "lacks 10 of"}[name] in message
    assert {"hpsv2_1": "vision_model.encoder.layers.1.", "image_reward": "head.layers.0.weight"}[name] in message


def test_extra_tensors_are_named(broken):
    name, options, path = broken
    edit(path, lambda tensors: tensors.update({"score_predictor.weight": torch.ones(2)}))
    assert "has too many: 1 of" in message_of(name, options)
    assert "score_predictor.weight" in message_of(name, options)


@pytest.mark.parametrize("kind", [torch.int8, torch.float8_e4m3fn])
def test_quantized_tensors_without_scales_are_refused(broken, kind):
    name, options, path = broken

    def quantize(weights):
        first = next(name for name, tensor in weights.items() if tensor.ndim > 1)
        weights[first] = weights[first].to(kind)

    edit(path, quantize)
    assert f": {str(kind).removeprefix('torch.')})" in message_of(name, options)


@pytest.mark.parametrize("kind", ["weight", "bias"])
@pytest.mark.parametrize("shape", [(), (4,)])
def test_a_joint_projection_that_cannot_be_cut_in_three_is_refused(folder, tmp_path, options, kind, shape):
    shutil.copytree(folder / "hpsv2_1", tmp_path / "copy")
    name = f"transformer.resblocks.0.attn.in_proj_{kind}"
    edit(tmp_path / "copy" / FILES["hpsv2_1"], lambda tensors: tensors.update({name: torch.ones(shape)}))
    message = message_of("hpsv2_1", options["hpsv2_1"] | {"checkpoint": str(tmp_path / "copy")})
    assert f"{name} has the shape {list(shape)}, not queries to values" in message


def test_a_checkpoint_of_which_a_page_was_never_written_is_refused(broken):
    name, options, path = broken
    edit(path, lambda tensors: tensors.update({next(iter(tensors)): next(iter(tensors.values())) + 1e-3}))
    content = bytearray(path.read_bytes())
    whole = np.frombuffer(content[: len(content) // 4096 * 4096], np.uint8).reshape(-1, 4096)
    page = int(np.argmax(np.count_nonzero(whole, axis=1)))  # of weights
    content[page * 4096 : (page + 1) * 4096] = bytes(4096)
    path.write_bytes(content)
    assert f"was not written from byte {page * 4096} to {(page + 1) * 4096}" in message_of(name, options)


@pytest.mark.parametrize("pattern", [r"(ln_\w+|LayerNorm|norm\d?)\.weight$", "proj.*weight$"])
def test_tensors_that_are_zero_are_refused(broken, pattern):
    """Scales of norms, and matrices."""
    name, options, path = broken

    def clear(weights):
        found = [key for key in weights if re.search(pattern, key)]
        assert found
        for key in found:
            weights[key] = torch.zeros_like(weights[key])

    edit(path, clear)
    assert "has nothing but zeros in" in message_of(name, options)


def test_another_architecture_is_refused_with_a_shape(broken):
    name, options, path = broken
    (path.parent / "config.json").unlink()  # so that the official size is expected
    message = message_of(name, options)
    assert "has other shapes for" in message
    assert "in place of [" in message
    assert "config.json" in message


def test_the_module_prefix_of_distributed_training_is_taken_off(folder, tmp_path, options):
    shutil.copytree(folder / "hpsv2_1", tmp_path / "copy")
    path = tmp_path / "copy" / FILES["hpsv2_1"]
    tensors = torch.load(path, weights_only=True)["state_dict"]
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}, path)
    pair = samples.images()[:1], ["a red dog"]
    same, plain = (
        load_reward("hpsv2_1", **options["hpsv2_1"] | {"checkpoint": str(source)}).score(*pair)
        for source in (path, folder / "hpsv2_1")
    )
    assert same == plain


@pytest.mark.parametrize("name", ["pick_score", "clip_score"])
def test_a_safetensors_checkpoint_is_checked_alike(name, folder, tmp_path, options):
    shutil.copytree(folder / "clip", tmp_path / "copy")
    path = tmp_path / "copy" / "model.safetensors"
    changed = options[name] | {"checkpoint": str(tmp_path / "copy")}
    whole = load_file(path)
    path.write_bytes(path.read_bytes()[:-1000])
    assert "is cut or no checkpoint" in message_of(name, changed)
    save_file({key: tensor for key, tensor in whole.items() if key != "logit_scale"}, path)
    assert "lacks 1 of 78 (logit_scale)" in message_of(name, changed)
    path.unlink()
    assert "has no model.safetensors" in message_of(name, changed)


@pytest.mark.parametrize("name", ["pick_score", "clip_score"])
def test_the_configuration_of_a_file_is_the_one_beside_it(name, folder, tmp_path, options):
    changed = options[name] | {
        "checkpoint": str(folder / "clip" / "model.safetensors"),
        "tokenizer": str(folder / "clip_tokenizer"),
    }
    check_reward(name, **changed)
    shutil.copy(changed["checkpoint"], tmp_path)
    alone = changed | {"checkpoint": str(tmp_path / "model.safetensors")}
    assert f"the folder {str(tmp_path)!r} has no config.json" in message_of(name, alone)


def test_the_tokenizer_of_a_file_is_the_one_beside_it(folder, tmp_path, options):
    both = Path(shutil.copytree(folder / "clip", tmp_path / "copy"))
    own = {name: value for name, value in options["clip_score"].items() if name != "tokenizer"}
    changed = own | {"checkpoint": str(both / "model.safetensors")}
    message = message_of("clip_score", changed)
    assert f"the tokenizer's folder {str(both)!r} has no tokenizer.json or vocab." in message
    assert (
        "save the tokenizer there, or set the reward's tokenizer, such as rewards.clip_score.tokenizer, to" in message
    )
    shutil.copytree(folder / "clip_tokenizer", both, dirs_exist_ok=True)
    check_reward("clip_score", **changed)
    pair = samples.images()[:1], ["a red dog"]
    apart = load_reward("clip_score", **options["clip_score"])
    beside = load_reward("clip_score", **changed)
    assert beside.score(*pair) == apart.score(*pair)
    in_folder = load_reward("clip_score", **changed | {"checkpoint": str(both)})
    assert record_changes(beside.record, in_folder.record) == []


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("", "holds by its files' names parts of a checkpoint (model-00001-of-00002.safetensors), and only whole"),
        ("model-00001-of-00002.safetensors", "it lacks 1 of 78 (logit_scale); by its name it is one of several parts"),
    ],
)
def test_a_checkpoint_in_parts_is_refused_with_what_to_do(folder, tmp_path, options, place, problem):
    shutil.copy(folder / "clip" / "config.json", tmp_path)
    tensors = load_file(folder / "clip" / "model.safetensors")
    last = {"logit_scale": tensors.pop("logit_scale")}
    save_file(tensors, tmp_path / "model-00001-of-00002.safetensors")
    save_file(last, tmp_path / "model-00002-of-00002.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    message = message_of("clip_score", options["clip_score"] | {"checkpoint": str(tmp_path / place)})
    assert f"{str(tmp_path / place)!r}" in message and problem in message and "max_shard_size" in message


@pytest.mark.parametrize("stem", ["model-00001-of-00001", "epoch-3-of-10", "mine-2024-01-of-02", "step-00500-of-01000"])
@pytest.mark.parametrize("name", ["pick_score", "clip_score"])
def test_a_whole_checkpoint_is_read_whatever_its_name(folder, tmp_path, options, name, stem):
    shutil.copy(folder / "clip" / "config.json", tmp_path)
    path = shutil.copy(folder / "clip" / "model.safetensors", tmp_path / f"{stem}.safetensors")
    check_reward(name, **options[name] | {"checkpoint": str(path)})
    if not stem.startswith("step"):
        message = message_of(name, options[name] | {"checkpoint": str(tmp_path)})
        assert f"has no model.safetensors; there are: config.json, {stem}.safetensors; if {stem}.safeten" in message


def test_the_buffers_of_positions_that_older_versions_saved_are_no_extra_tensors(folder, tmp_path, options):
    shutil.copytree(folder / "clip", tmp_path / "copy")
    path = tmp_path / "copy" / "model.safetensors"
    save_file(load_file(path) | {"text_model.embeddings.position_ids": torch.arange(77)[None]}, path)
    check_reward("clip_score", **options["clip_score"] | {"checkpoint": str(tmp_path / "copy")})


def test_a_broken_configuration_is_refused(broken):
    name, options, path = broken
    (path.parent / "config.json").write_text('{"text_config": ')
    assert "config.json' is no " in message_of(name, options)


ELSEWHERE = {
    "transformers_weights": ("config.json", {"transformers_weights": "other.safetensors"}),
    "quantization_config": ("config.json", {"quantization_config": {"quant_method": "fp8"}}),
    "changes them by an adapter": ("adapter_config.json", {"peft_type": "LORA", "target_modules": ["q_proj"]}),
}


@pytest.mark.parametrize("said", ELSEWHERE)
@pytest.mark.parametrize("name", ["clip_score", "hpsv2_1", "image_reward"])
def test_weights_that_transformers_would_change_or_take_from_elsewhere_are_refused(tmp_path, options, name, said):
    copy = Path(shutil.copytree(options[name]["checkpoint"], tmp_path / "copy"))
    file_name, entries = ELSEWHERE[said]
    path, unset = copy / file_name, dict.fromkeys(entries) if file_name == "config.json" else {}
    before = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(before | unset))
    check_reward(name, **options[name] | {"checkpoint": str(copy)})
    path.write_text(json.dumps((before if path.is_file() else {}) | entries))
    message = message_of(name, options[name] | {"checkpoint": str(copy)})
    assert message.startswith(f"{str(path)!r} ") and said in message


def test_a_missing_tokenizer_is_refused(broken, tmp_path):
    name, options, _ = broken
    message = message_of(name, options | {"tokenizer": str(tmp_path / "nowhere")})
    assert "there is no tokenizer" in message
    assert {"hpsv2_1": "vocab.json and merges.txt", "image_reward": "vocab.txt"}[name] in message


def test_a_tokenizers_folder_without_its_files_is_refused(broken, tmp_path):
    name, options, _ = broken
    assert "has no tokenizer.json or vocab." in message_of(name, options | {"tokenizer": str(tmp_path)})


def test_a_tokenizer_of_another_vocabulary_is_refused(folder, tmp_path, options):
    samples.save_bert_tokenizer(tmp_path, 1000)
    message = message_of("image_reward", options["image_reward"] | {"tokenizer": str(tmp_path)})
    assert "has 1002 entries, but its network reads 30524" in message


def test_a_broken_tokenizer_is_refused(tmp_path, options):
    (tmp_path / "vocab.json").write_text("{")
    (tmp_path / "merges.txt").write_text("")
    assert "cannot be opened" in message_of("hpsv2_1", options["hpsv2_1"] | {"tokenizer": str(tmp_path)})


def test_a_tokenizer_with_lost_merges_is_refused(folder, tmp_path, options):
    copy = shutil.copytree(folder / "clip_tokenizer", tmp_path / "copy")
    (copy / "tokenizer.json").unlink(missing_ok=True)
    lines = (copy / "merges.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (copy / "merges.txt").write_text("".join(lines[:-2]), encoding="utf-8")
    message = message_of("hpsv2_1", options["hpsv2_1"] | {"tokenizer": str(copy)})
    assert "is not whole: no merge makes 2 tokens of its vocabulary" in message


def set_end_token(folder: Path, change) -> int:
    """Change `text_config` in a copy's config.json; returns the right number of the end token."""
    config = json.loads((folder / "config.json").read_text())
    right = config["text_config"]["eos_token_id"]
    change(config["text_config"])
    (folder / "config.json").write_text(json.dumps(config))
    return right


WRONG_ENDS = {
    "none, as configs were saved when 2 was the default": lambda text: text.pop("eos_token_id"),
    "a token that no prompt has": lambda text: text.update(eos_token_id=1),
    "what fills up short prompts": lambda text: text.update(eos_token_id=0),
    "the first token": lambda text: text.update(eos_token_id=text["bos_token_id"]),
    "a word": lambda text: text.update(eos_token_id=256 + ord("c") - 33),
    "null": lambda text: text.update(eos_token_id=None),
}


@pytest.mark.parametrize("wrong", WRONG_ENDS)
@pytest.mark.parametrize("name", ["clip_score", "pick_score", "hpsv2_1"])
def test_a_clip_that_reads_no_prompt_because_of_its_end_token_is_refused(tmp_path, options, name, wrong):
    copy = Path(shutil.copytree(options[name]["checkpoint"], tmp_path / "copy"))
    right = set_end_token(copy, WRONG_ENDS[wrong])
    message = message_of(name, options[name] | {"checkpoint": str(copy)})
    if wrong == "null":
        assert "cannot read prompts" in message and "eos_token_id in its config.json is no number" in message
    else:
        assert f"eos_token_id in its config.json is not {right}, the tokenizer's end token" in message


def test_the_old_end_token_2_means_the_last_of_the_vocabulary_and_scores_the_same(tmp_path, options):
    copy = Path(shutil.copytree(options["clip_score"]["checkpoint"], tmp_path / "copy"))
    set_end_token(copy, lambda text: text.update(eos_token_id=2))
    old = options["clip_score"] | {"checkpoint": str(copy)}
    check_reward("clip_score", **old)
    images, prompts = samples.images()[:2], ["a red dog", "a cat"]
    scores = [load_reward("clip_score", **each).cosines(images, prompts) for each in (old, options["clip_score"])]
    assert np.array_equal(*scores)


@pytest.mark.parametrize("name", ["clip_score", "pick_score"])
def test_a_text_encoder_of_which_all_words_are_the_same_is_refused(tmp_path, options, name):
    copy = Path(shutil.copytree(options[name]["checkpoint"], tmp_path / "copy"))
    weights = load_file(copy / "model.safetensors")
    words = weights["text_model.embeddings.token_embedding.weight"]
    weights["text_model.embeddings.token_embedding.weight"] = words[:1].repeat(len(words), 1)
    save_file(weights, copy / "model.safetensors")
    message = message_of(name, options[name] | {"checkpoint": str(copy)})
    assert "returns the same embeddings for different prompts" in message


def test_a_tokenizer_of_another_language_is_refused(folder, tmp_path, options):
    samples.save_bert_tokenizer(tmp_path)
    entries = (tmp_path / "vocab.txt").read_text(encoding="utf-8").splitlines()
    other = [f"[other{number}]" if entry[0] != "[" else entry for number, entry in enumerate(entries)]
    (tmp_path / "vocab.txt").write_text("\n".join(other) + "\n", encoding="utf-8")
    message = message_of("image_reward", options["image_reward"] | {"tokenizer": str(tmp_path)})
    assert "returns the same embeddings for different prompts" in message
    assert "as where the tokenizer is of another language" in message


def test_a_reward_without_prompts_takes_a_clip_whose_text_encoder_is_broken(tmp_path, options):
    copy = Path(shutil.copytree(options["aesthetic"]["clip"], tmp_path / "copy"))
    set_end_token(copy, WRONG_ENDS["null"])
    broken = options["aesthetic"] | {"clip": str(copy)}
    check_reward("aesthetic", **broken)
    images, prompts = samples.images()[:2], ["", ""]
    scores = [load_reward("aesthetic", **each).score(images, prompts) for each in (broken, options["aesthetic"])]
    assert np.array_equal(*scores)


@pytest.mark.parametrize("attempt", [check_reward, load_reward])
def test_without_a_network_a_hubs_model_is_refused_with_what_to_look_at(options, monkeypatch, attempt):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError) as caught:
        attempt("image_reward", **options["image_reward"] | {"checkpoint": "nobody/nothing", "revision": "v1"})
    assert "the model hub did not give its ImageReward.pt" in str(caught.value)
    assert "revision 'v1', HF_HUB_OFFLINE and the network" in str(caught.value)


def test_a_checkpoints_own_tokenizer_is_of_its_revision(folder, tmp_path, options, monkeypatch):
    cache, given = tmp_path / "models--owner--clip", options["clip_score"]
    (cache / "refs").mkdir(parents=True)
    for revision, commit in (("main", "0" * 40), ("v1", "1" * 40)):
        (cache / "refs" / revision).write_text(commit)
        shutil.copytree(given["checkpoint"], cache / "snapshots" / commit)
        shutil.copytree(given["tokenizer"], cache / "snapshots" / commit, dirs_exist_ok=True)
        (cache / "snapshots" / commit / "preprocessor_config.json").write_text("{}")
    vocabulary = cache / "snapshots" / ("0" * 40) / "vocab.json"
    (vocabulary.parent / "tokenizer.json").unlink(missing_ok=True)
    ids = json.loads(vocabulary.read_text())
    words = [word for word in ids if "|" not in word]
    vocabulary.write_text(json.dumps(ids | dict(zip(words, [ids[word] for word in reversed(words)], strict=True))))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    commit_of.cache_clear()
    read = {
        name: load_reward("clip_score", **given | source).tokenizer("a red circle").input_ids
        for name, source in {
            "v1": {"checkpoint": "owner/clip", "revision": "v1", "tokenizer": None},
            "main": {"checkpoint": "owner/clip", "tokenizer": None},
            "folder": {},
        }.items()
    }
    commit_of.cache_clear()
    assert read["v1"] == read["folder"] != read["main"]


def test_a_file_in_the_hubs_cache_is_checked_without_a_network(folder, tmp_path, options, monkeypatch):
    commit = "0" * 40
    cache = tmp_path / "models--xswu--HPSv2"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(commit)
    shutil.copytree(folder / "hpsv2_1", cache / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    message = message_of("hpsv2_1", options["hpsv2_1"] | {"checkpoint": "xswu/HPSv2"})
    assert str(cache / "snapshots" / commit) in message
    assert "does not fit its model" in message  # a hub's file has the official size, and this one is small
