"""What git-lfs leaves in place of a file that it has not downloaded is named as such, and never read as the file."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from rsidiff_kedro.core.image_set import ImageFileError, ImageFiles
from rsidiff_kedro.core.untrusted.images import ImageReadError, image_suffixes, read_header, read_image
from rsidiff_kedro.core.untrusted.tables import SUFFIXES, TableError, read_parquet, read_rows
from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.opening import check_model, load_model
from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.prompts.sources.file import FileSource
from rsidiff_kedro.prompts.sources.hub import HubSource
from rsidiff_kedro.prompts.sources.source import PromptSourceError
from rsidiff_kedro.rewards.checkpoints import CheckpointError
from rsidiff_kedro.rewards.registry import check_reward, load_reward

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345678\n"
SAID = "a git-lfs pointer, not the file itself; run `git lfs pull` there"


def pointer(path: Path) -> Path:
    path.write_text(POINTER, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("start", ["https://git-lfs.github.com/spec/v1", "https://hawser.github.com/spec/v1"])
def test_in_place_of_a_table(tmp_path: Path, suffix: str, start: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text(POINTER.replace("https://git-lfs.github.com/spec/v1", start))
    with pytest.raises(TableError, match=SAID):
        read_rows(path, ["text"])
    with pytest.raises(TableError, match=SAID):
        read_parquet(path)
    for source in (FileSource(path=path), FileSource(path=tmp_path)):
        with pytest.raises(PromptSourceError, match=f"{path}: it is {SAID}"):
            source.check(0)


def test_prompts_that_tell_of_one_are_prompts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"a fox\n{POINTER}")
    assert len(read_rows(tmp_path / "a.txt", ["text"]).rows) == 4


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".jsonl", ".parquet"])
def test_in_place_of_a_data_sets_file(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    path = pointer(tmp_path / "set" / f"train{suffix}")
    with pytest.raises(PromptSourceError, match=f"{path}: it is {SAID}"):
        HubSource(dataset=str(tmp_path / "set")).collect(0)


def test_in_place_of_an_image(tmp_path: Path) -> None:
    for suffix in image_suffixes():
        path = pointer(tmp_path / f"a{suffix}")
        for read in (read_image, read_header):
            with pytest.raises(ImageReadError, match=f"{path}: no image, but {SAID}"):
                read(path)
    with pytest.raises(ImageFileError, match=SAID):
        ImageFiles([pointer(tmp_path / "a.png")])[0]
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").size == (8, 8)


MODEL_FILES = [
    "model_index.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer.json",
    "scheduler/scheduler_config.json",
]


@pytest.mark.parametrize("name", MODEL_FILES)
def test_in_place_of_a_models_file(family_folder: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(family_folder("stable_diffusion"), tmp_path / "copy"))
    assert (copy / name).is_file()
    path = pointer(copy / name)
    for attempt in (check_model, load_model):
        with pytest.raises(ModelError, match=f"'{path}' is {SAID}"):
            attempt(ModelSettings(base=str(copy)))


def test_in_place_of_a_models_file_that_is_not_read(family_folder: Callable[[str], Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(family_folder("stable_diffusion"), tmp_path / "copy"))
    for name in ("unet/diffusion_pytorch_model.fp16.safetensors", "tokenizer/spiece.model", "whole.ckpt"):
        pointer(copy / name)
    check_model(ModelSettings(base=str(copy)))


REWARD_FILES = {
    "hpsv2_1": ("hpsv2_1", "clip_tokenizer", ["HPS_v2.1_compressed.pt", "config.json"], "merges.txt"),
    "clip_score": ("clip", "clip_tokenizer", ["model.safetensors", "config.json"], "vocab.json"),
    "image_reward": ("image_reward", "bert_tokenizer", ["ImageReward.pt", "config.json"], "vocab.txt"),
}


@pytest.mark.parametrize("name", REWARD_FILES)
def test_in_place_of_a_rewards_file(reward_folder: Path, tmp_path: Path, name: str) -> None:
    checkpoint, tokenizer, files, vocabulary = REWARD_FILES[name]
    for part in (checkpoint, tokenizer):
        shutil.copytree(reward_folder / part, tmp_path / part)
    (tmp_path / tokenizer / "tokenizer.json").unlink(missing_ok=True)
    options = {"checkpoint": str(tmp_path / checkpoint), "tokenizer": str(tmp_path / tokenizer), "device": "cpu"}
    for path in [*(tmp_path / checkpoint / file for file in files), tmp_path / tokenizer / vocabulary]:
        content = path.read_bytes()
        pointer(path)
        for attempt in (check_reward, load_reward):
            with pytest.raises(CheckpointError, match=f"'{path}' is {SAID}"):
                attempt(name, **options)
        path.write_bytes(content)
    check_reward(name, **options)
