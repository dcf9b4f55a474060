"""Damaged checkpoints, tokenizers, model folders and unfinished trainings are refused in one line, or are whole."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import damaged, damaged_json, examples
from hypothesis import given
from kedro.io import DatasetError
from parity import samples
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from rsidiff_kedro.datasets import PretrainedDataset
from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.rewards.checkpoints import build_network, check_weights, read_config, read_weights
from rsidiff_kedro.rewards.head import ScoreHead
from rsidiff_kedro.rewards.image_processor import read_normalization
from rsidiff_kedro.rewards.sources import CheckpointError
from rsidiff_kedro.rewards.tokenizers import open_bert_tokenizer, open_clip_tokenizer
from rsidiff_kedro.scenes.plugins.proxy import ProxyConfig, ProxyModel
from rsidiff_kedro.scenes.pretraining.fitting import Schedule, fit


def small_head() -> ScoreHead:
    return ScoreHead(2)


def save_checkpoint(path: Path, weights: dict[str, torch.Tensor]) -> None:
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save({"state_dict": weights}, path, _use_new_zipfile_serialization=path.stem != "old")


@pytest.mark.parametrize("name", ["new.pt", "old.pt", "new.safetensors"])
def test_checkpoints_of_rewards(tmp_path_factory: pytest.TempPathFactory, name: str, answer) -> None:
    folder = tmp_path_factory.mktemp("fuzz") / "checkpoint"
    folder.mkdir()
    path = folder / name
    torch.manual_seed(0)
    save_checkpoint(path, small_head().state_dict())
    whole = path.read_bytes()

    def load() -> ScoreHead:
        return build_network(small_head, read_weights(path), path)

    assert load()

    @examples(80)
    @given(damaged(whole))
    def check(content: bytes) -> None:
        # Another file each time, as an earlier one may still be mapped into memory.
        path.unlink()
        path.write_bytes(content)
        network = answer(load, CheckpointError, folder)
        if network is not None:
            assert network(torch.zeros(1, 2)).shape == (1, 1)

    check()


@pytest.fixture(scope="session")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rewards")
    samples.save_models(folder, "small")
    return folder


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("clip", "vocab.json"),
        ("clip", "merges.txt"),
        ("clip", "tokenizer.json"),
        ("clip", "tokenizer_config.json"),
        ("bert", "vocab.txt"),
        ("bert", "tokenizer.json"),
        ("bert", "tokenizer_config.json"),
    ],
)
def test_tokenizers(tokenizers: Path, tmp_path_factory: pytest.TempPathFactory, kind: str, name: str, answer) -> None:
    open_tokenizer: Any = {"clip": open_clip_tokenizer, "bert": open_bert_tokenizer}[kind]
    folder = tmp_path_factory.mktemp("fuzz") / "tokenizer"
    shutil.copytree(tokenizers / f"{kind}_tokenizer", folder)
    size = _size(folder, open_tokenizer)
    if name.startswith("tokenizer"):  # of the fast tokenizers, in the place of the vocabulary
        open_tokenizer(str(folder), size).save_pretrained(folder)
        for each in ("vocab.json", "merges.txt", "vocab.txt"):
            (folder / each).unlink(missing_ok=True)
    whole = (folder / name).read_bytes()

    @examples(20)
    @given(damaged_json(whole) if name.endswith("json") else damaged(whole))
    def check(content: bytes) -> None:
        (folder / name).write_bytes(content)
        tokenizer = answer(lambda: open_tokenizer(str(folder), size), CheckpointError, folder)
        if tokenizer is not None:
            assert len(tokenizer) == size

    check()


def _size(folder: Path, open_tokenizer: Any) -> int:
    try:
        open_tokenizer(str(folder), 0)
    except CheckpointError as error:
        return int(str(error).split(" has ")[1].split()[0])
    raise AssertionError("a tokenizer has no entries")


def test_configurations_of_rewards(tmp_path_factory: pytest.TempPathFactory, answer) -> None:
    folder = tmp_path_factory.mktemp("fuzz") / "config"
    CLIPConfig(**samples.clip_config(samples.CLIP_SIZES["small"], 100)).save_pretrained(folder)
    path = folder / "config.json"
    weights = CLIPModel(read_config(CLIPConfig, path)).state_dict()

    @examples(80)
    @given(damaged_json(path.read_bytes()))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        config = answer(lambda: read_config(CLIPConfig, path), CheckpointError, folder)
        if config is not None:
            answer(lambda: check_weights(lambda: CLIPModel(config), weights, path), CheckpointError, folder)

    check()


def test_image_processors_of_rewards(tmp_path_factory: pytest.TempPathFactory, answer) -> None:
    folder = tmp_path_factory.mktemp("fuzz") / "processor"
    folder.mkdir()
    path = folder / "preprocessor_config.json"
    path.write_text(CLIPImageProcessorPil().to_json_string())

    @examples(80)
    @given(damaged_json(path.read_bytes()))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        found = answer(lambda: read_normalization(str(folder), None, 224), CheckpointError, folder)
        if found is not None:
            assert len(found.mean) == len(found.deviation) == 3
            assert min(found.deviation) > 0

    check()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_the_proxy(tmp_path_factory: pytest.TempPathFactory, name: str, answer) -> None:
    folder = tmp_path_factory.mktemp("fuzz") / "proxy"
    torch.manual_seed(0)
    ProxyModel(ProxyConfig(("red", "circle"), image_size=8, width=8, layers=1)).save_pretrained(folder)
    whole = (folder / name).read_bytes()
    dataset = PretrainedDataset(filepath=folder, class_name="rsidiff_kedro.scenes.plugins.proxy.ProxyModel")

    @examples(60)
    @given(damaged_json(whole) if name.endswith("json") else damaged(whole))
    def check(content: bytes) -> None:
        (folder / name).unlink()
        (folder / name).write_bytes(content)
        model = answer(dataset.load, DatasetError, folder)
        if model is not None:
            words = model.word_ids(["a red circle"])
            assert model(torch.zeros(1, 3, 8, 8), words).shape == (1,)

    check()


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer_config.json",
        "tokenizer/tokenizer.json",
    ],
)
def test_model_folders(tmp_path_factory: pytest.TempPathFactory, family_folder, name: str, answer) -> None:
    folder = tmp_path_factory.mktemp("fuzz") / "model"
    shutil.copytree(family_folder("stable_diffusion"), folder)
    path = folder / name
    whole = path.read_bytes()

    @examples(8)
    @given(damaged_json(whole) if name.endswith("json") else damaged(whole))
    def check(content: bytes) -> None:
        path.unlink()
        path.write_bytes(content)
        model = answer(lambda: load_model(ModelSettings(base=str(folder))), ModelError, folder)
        if model is not None:
            assert len(model.latent_shape) == 3

    check()


def test_unfinished_trainings(tmp_path_factory: pytest.TempPathFactory, answer) -> None:
    folder = tmp_path_factory.mktemp("fuzz") / "unfinished"
    path = folder / "state.safetensors"
    folder.mkdir()
    schedule = Schedule(steps=2, batch_size=1, learning_rate=1e-3, checkpoint_every=1)

    def train() -> list[float]:
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
        inputs = torch.ones(1, 2)
        return fit(network, lambda generator: network(inputs).square().sum(), schedule, 0, "fuzz", path)

    train()
    whole = path.read_bytes()

    @examples(60)
    @given(damaged(whole))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        assert isinstance(answer(train, (), folder), list)  # what is damaged is trained again

    check()
