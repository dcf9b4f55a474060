"""Checkpoints: preference models and base models that are missing, cut, of another network, or could run code."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from cases.case import Case, Place, with_params

HPS = (
    "preference_selection.rewards.hpsv2_1=1",
    "rewards.hpsv2.checkpoint=rewards/hpsv2_1",
    "rewards.hpsv2.tokenizer=rewards/clip_tokenizer",
)
CLIP = ("weighting.features=clip_score", "rewards.clip_score.checkpoint=rewards/clip")
AESTHETIC = (
    "evaluation.rewards=[aesthetic]",
    "rewards.aesthetic.checkpoint=rewards/aesthetic",
    "rewards.aesthetic.clip=rewards/clip",
)
MODEL = ("evaluation.judge=null", "model.base=model")
Damage = Callable[[Path], object]


class Code:
    """What a pickle runs when it is read without care."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran",)


def _reward(
    wrong: str, says: str, params: tuple[str, ...], damage: Damage | None = None, process: bool = False
) -> Case:
    """A case of a preference model, in a copy of all of them."""

    def set_up(place: Place) -> None:
        folder = place.copy(place.materials.rewards, "rewards")
        if damage is not None:
            damage(folder)

    return Case("checkpoints", wrong, says, with_params(*params), set_up, process)


def _cut(name: str, keep: int) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:keep])

    return damage


def _write(name: str, content: str | bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def _remove(name: str) -> Damage:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def _with_code(folder: Path) -> None:
    (folder / HPS_FILE).write_bytes(pickle.dumps({"weight": Code()}))


def _of_another(folder: Path) -> None:
    shutil.copyfile(folder / "image_reward" / "ImageReward.pt", folder / HPS_FILE)


def _without_a_tensor(folder: Path) -> None:
    weights = torch.load(folder / HPS_FILE, weights_only=True)
    weights["state_dict"].pop("logit_scale") if "state_dict" in weights else weights.pop("logit_scale")
    torch.save(weights, folder / HPS_FILE)


def _of_numbers(folder: Path) -> None:
    torch.save({"epoch": 3}, folder / HPS_FILE)


HPS_FILE = "hpsv2_1/HPS_v2.1_compressed.pt"
_REWARDS = (
    _reward(
        "a preference model's path is nowhere",
        "there is no '/no/such.pt'; give a file",
        (*HPS, "rewards.hpsv2.checkpoint=/no/such.pt"),
    ),
    _reward("its folder lacks the official file", "has no HPS_v2.1_compressed.pt; there are:", HPS, _remove(HPS_FILE)),
    _reward("it is empty", "is empty; download it again", HPS, _write(HPS_FILE, "")),
    _reward("it is a web page", "is no checkpoint", HPS, _write(HPS_FILE, "<html>404</html>")),
    _reward("it is cut", "is cut or no checkpoint", HPS, _cut(HPS_FILE, 100_000), process=True),
    _reward("it is a pickle with code", "could run code and were not read; get the official file", HPS, _with_code),
    _reward("it holds no tensors", "it holds no tensors by name; download it again", HPS, _of_numbers),
    _reward("it is another network", "does not fit its model: it lacks", HPS, _of_another),
    _reward("it lacks a tensor", "lacks 1 of", HPS, _without_a_tensor),
    _reward("the config beside it is no JSON", "save the model again", HPS, _write("hpsv2_1/config.json", "{")),
    _reward("its tokenizer lacks the vocabulary", "vocab.json", HPS, _remove("clip_tokenizer/vocab.json")),
    _reward("its tokenizer is nowhere", "'/no/such'", (*HPS, "rewards.hpsv2.tokenizer=/no/such")),
    _reward("a model in transformers' format lacks its config", "config.json", CLIP, _remove("clip/config.json")),
    _reward("its safetensors are cut", "is cut or no checkpoint", CLIP, _cut("clip/model.safetensors", 1000)),
    _reward(
        "a head of scores is cut", "is cut or no checkpoint", AESTHETIC, _cut("aesthetic/aesthetic-model.pth", 1000)
    ),
    _reward(
        "a hub id while offline",
        "check the id and revision None, HF_HUB_OFFLINE and the network",
        (*HPS, "rewards.hpsv2.checkpoint=nobody/nothing"),
    ),
)


def _model(
    wrong: str, says: str, damage: Damage, params: tuple[str, ...] = MODEL, process: bool = False, late: bool = False
) -> Case:
    """A case of a base model, in a copy of a sound one."""

    def set_up(place: Place) -> None:
        damage(place.copy(place.materials.model, "model"))

    return Case("checkpoints", wrong, says, with_params(*params), set_up, process, late)


def _other_family(place: Place) -> None:
    place.copy(place.materials.other_family, "model")


def _without_vae(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    del index["vae"]
    (folder / "model_index.json").write_text(json.dumps(index))


def _variant_alone(folder: Path) -> None:
    path = folder / WEIGHTS
    path.rename(path.with_name("diffusion_pytorch_model.fp16.safetensors"))


def _without_limit(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 10**30}))


def _without_a_layer(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights["conv_in.weight"]
    save_file(weights, folder / WEIGHTS)


def _tensors(name: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(folder: Path) -> None:
        weights = load_file(folder / name)
        change(weights)
        save_file(weights, folder / name, {"format": "pt"})

    return damage


def _quantize(weights: dict[str, torch.Tensor]) -> None:
    weights.update({name: tensor.to(torch.int8) for name, tensor in weights.items() if name.endswith("q_proj.weight")})


def _clear_norm(weights: dict[str, torch.Tensor]) -> None:
    next(tensor for name, tensor in weights.items() if name.endswith("final_layer_norm.weight")).zero_()


def _without_last_merges(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["model"]["merges"][-3:]
    path.write_text(json.dumps(content), encoding="utf-8")


def _spoil_decoder(weights: dict[str, torch.Tensor]) -> None:
    weights["decoder.conv_out.weight"].fill_(float("nan"))


def _entry(name: str, key: str, value: object) -> Damage:
    return lambda folder: (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | {key: value}))


def _as_adapter(folder: Path) -> None:
    (folder / "text_encoder" / "config.json").unlink()
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "elsewhere"}
    (folder / "text_encoder" / "adapter_config.json").write_text(json.dumps(adapter))


def _as_link(folder: Path) -> None:
    (folder / "vae").rename(folder.parent / "elsewhere")
    (folder / "vae").symlink_to(folder.parent / "elsewhere")


def _as_pickle(folder: Path) -> None:
    (folder / VAE).rename(folder / "vae" / "diffusion_pytorch_model.bin")


TEXT, VAE = "text_encoder/model.safetensors", "vae/diffusion_pytorch_model.safetensors"


def _needs_a_library(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    index["scheduler"] = ["diffusers", "DPMSolverSDEScheduler"]  # of torchsde, which no dependency of ours installs
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")


def _of_an_unknown_class(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    index["scheduler"] = ["diffusers", "NextYearsScheduler"]
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")


def _of_few_timesteps(folder: Path) -> None:
    path = folder / "scheduler" / "scheduler_config.json"
    content = json.loads(path.read_text(encoding="utf-8")) | {"num_train_timesteps": 3}
    path.write_text(json.dumps(content), encoding="utf-8")


WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
_INDEX, CONFIG = "model_index.json", "unet/config.json"
_MODELS = (
    Case(
        "checkpoints",
        "the base model is nowhere",
        "there is no folder '/no/such'",
        with_params("model.base=/no/such"),
        process=True,
    ),
    Case(
        "checkpoints",
        "its path is in the home of nobody",
        "/~nobody_here/model'",
        with_params("model.base=~nobody_here/model"),
    ),
    Case(
        "checkpoints",
        "its path is longer than any",
        "there is no folder '/xxx",
        with_params(f"model.base=/{'x' * 300}"),
    ),
    Case("checkpoints", "its hub id while offline", "or give a local folder", with_params("model.base=nobody/nothing")),
    _model("its folder has no index", "has no model_index.json", _remove(_INDEX)),
    _model("its index is no JSON", "is not JSON of a pipeline", _write(_INDEX, "{")),
    _model("its index names no autoencoder", "names no vae", _without_vae),
    Case(
        "checkpoints",
        "it is of another family",
        "set model.family=stable_diffusion_xl",
        with_params(*MODEL),
        _other_family,
    ),
    _model("a network's folder is missing", "lacks unet", _remove("unet")),
    _model("weights of a variant alone", "lacks unet", _variant_alone),
    _model("a network's weights are cut", "is cut or no safetensors", _cut(WEIGHTS, 1000)),
    _model("a network's config is no JSON", "is not JSON of a pipeline", _write("unet/config.json", "{")),
    _model("a tokenizer without vocabulary", "lacks tokenizer", _remove("tokenizer/tokenizer.json")),
    _model("a tokenizer without a limit", "put the smaller number into tokenizer_config.json", _without_limit),
    _model("a component needs a library that is missing", "requires the torchsde library", _needs_a_library),
    _model("a component's class is unknown", "is a NextYearsScheduler, which diffusers", _of_an_unknown_class),
    _model("fewer training timesteps than steps", "too many for the 3 num_train_timesteps", _of_few_timesteps),
    _model("a network's layer is missing", "conv_in.weight", _without_a_layer),
    _model("a text encoder without tensors", "text_encoder' does not hold the tensors", _tensors(TEXT, dict.clear)),
    _model("weights of 8 bits without scales", "has no floating-point numbers in 2 of", _tensors(TEXT, _quantize)),
    _model("a norm's scale of zeros", "has nothing but zeros in 1 of", _tensors(TEXT, _clear_norm)),
    _model("a tokenizer that lost merges", "no merge makes 3 tokens", _without_last_merges),
    _model("weights in a pickle", "is a pickle, which can run code and is not opened", _as_pickle),
    _model("an adapter in place of a network", "has the weights of another model loaded", _as_adapter),
    _model("a linked network", "is a link out of the model's folder", _as_link),
    _model("a quantized network", "describes quantized weights", _entry(CONFIG, "quantization_config", {"bits": 8})),
    _model(
        "a network of another class", "takes a UNet2DConditionModel", _entry(_INDEX, "unet", ["diffusers", "VQModel"])
    ),
    _model("a scale of latents of zero", "says scaling_factor = 0", _entry("vae/config.json", "scaling_factor", 0)),
    _model("a decoder of NaN", "NaN or infinite pixels", _tensors(VAE, _spoil_decoder), late=True),
)

CASES = (*_REWARDS, *_MODELS)
