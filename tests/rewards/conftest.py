"""Small random preference models in the official formats, as `make parity` makes them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from parity import samples
from transformers import CLIPConfig, CLIPModel

from rsidiff_kedro.rewards.head import ScoreHead


def numbered(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The network with weights of `samples.random_weights`."""
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(samples.random_weights(shapes, seed))
    return network.eval()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`hpsv2.1`, `image_reward`, `clip` (transformers' format), `aesthetic`, `clip_tokenizer`, `bert_tokenizer`."""
    folder = tmp_path_factory.mktemp("rewards")
    samples.save_models(folder, "small")
    vocabulary = len(json.loads((folder / "clip_tokenizer" / "vocab.json").read_text()))
    size = samples.CLIP_SIZES["small"]
    numbered(CLIPModel(CLIPConfig(**samples.clip_config(size, vocabulary))), 3).save_pretrained(folder / "clip")
    (folder / "aesthetic").mkdir()
    torch.save(numbered(ScoreHead(size.embed), 4).state_dict(), folder / "aesthetic" / "aesthetic-model.pth")
    return folder


@pytest.fixture(scope="session")
def options(folder: Path) -> dict[str, dict[str, Any]]:
    """The options of `load_reward` by a reward's name."""
    clip, tokenizer = str(folder / "clip"), str(folder / "clip_tokenizer")
    cpu = {"device": "cpu", "micro_batch_size": 8}
    return {
        "hpsv2.1": {"checkpoint": str(folder / "hpsv2.1"), "tokenizer": tokenizer, **cpu},
        "hpsv2.0": {
            "checkpoint": str(folder / "hpsv2.1" / "HPS_v2.1_compressed.pt"),
            "tokenizer": tokenizer,
            **cpu,
        },
        "image_reward": {
            "checkpoint": str(folder / "image_reward"),
            "tokenizer": str(folder / "bert_tokenizer"),
            **cpu,
        },
        "pick_score": {"checkpoint": clip, "tokenizer": tokenizer, **cpu},
        "clip_score": {"checkpoint": clip, "tokenizer": tokenizer, **cpu},
        "aesthetic": {"checkpoint": str(folder / "aesthetic"), "clip": clip, **cpu},
    }
