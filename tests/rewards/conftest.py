"""Small random preference models in the official formats, as `make parity` makes them."""

import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def folder(reward_folder: Path) -> Path:
    """See `reward_folder`."""
    return reward_folder


@pytest.fixture(scope="session")
def options(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The options of `load_reward` by a reward's name; HPSv2's versions have the same weights."""
    older = tmp_path_factory.mktemp("hpsv2_0")
    shutil.copy(folder / "hpsv2_1" / "HPS_v2.1_compressed.pt", older / "HPS_v2_compressed.pt")
    shutil.copy(folder / "hpsv2_1" / "config.json", older)
    clip, tokenizer = str(folder / "clip"), str(folder / "clip_tokenizer")
    cpu = {"device": "cpu", "micro_batch_size": 8}
    return {
        "hpsv2_1": {"checkpoint": str(folder / "hpsv2_1"), "tokenizer": tokenizer, **cpu},
        "hpsv2_0": {"checkpoint": str(older), "tokenizer": tokenizer, **cpu},
        "image_reward": {
            "checkpoint": str(folder / "image_reward"),
            "tokenizer": str(folder / "bert_tokenizer"),
            **cpu,
        },
        "pick_score": {"checkpoint": clip, "tokenizer": tokenizer, **cpu},
        "clip_score": {"checkpoint": clip, "tokenizer": tokenizer, **cpu},
        "aesthetic": {"checkpoint": str(folder / "aesthetic"), "clip": clip, **cpu},
    }
