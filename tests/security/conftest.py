"""What the security tests share: what would leave a file if it were run, and prompts of the worst kinds."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from rsidiff_kedro.core.image_set import ImageSet

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": "\"><img src=x onerror='alert(1)'>",
    "end of script": "</script><script>alert(1)</script>",
    "comment": "<!-- --!> ]]> <![CDATA[",
    "entities": "&lt;b&gt; &amp; &#x3c;script&#x3e;",
    "address": "javascript:alert(1) <a href='javascript:alert(1)'>x</a>",
    "json": '{"a": "\\"}], \\u003c',
    "quotes": "'; DROP TABLE runs; -- \"",
    "format": "%s %n {0} {x} ${oc.env:HOME} {{7*7}} $(touch x) `touch x`",
    "formula": "=cmd|' /C calc'!A0",
    "terminal": "\x1b[2J\x1b]0;owned\x07 \x9b31m red",
    "zero": "a\x00b",
    "lines": "a\nb\r\nc\u2028d\x85e",
    "right to left": "\u202egnp.exe \u2066 مرحبا שלום",
    "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308",
    "path": "../../../../etc/passwd\\..\\C:/x",
    "very long": "red " * 50_000,
}


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return Path.touch, (self.proof,)


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    """The file that is there if somebody's code was run."""
    return tmp_path / "proof"


@pytest.fixture(params=["pickle", "torch"])
def poison(request: pytest.FixtureRequest, proof: Path, tmp_path: Path) -> bytes:
    """A file that makes `proof` when it is unpickled, plain or in torch's own wrapping."""
    content = {"state_dict": {"a": torch.ones(1)}, "extra": Runs(proof)}
    if request.param == "pickle":
        return pickle.dumps(content, 2)
    path = tmp_path / "poison"
    torch.save(content, path)
    result = path.read_bytes()
    path.unlink()
    return result


@pytest.fixture(params=HOSTILE)
def hostile(request: pytest.FixtureRequest) -> str:
    """A prompt of the worst kinds, one after the other."""
    return HOSTILE[request.param]


def image_set_of(*texts: str) -> ImageSet:
    """An 8 x 8 image a text."""
    rng = np.random.default_rng(0)
    count = len(texts)
    metadata = pd.DataFrame(
        {
            "file_name": "",
            "image_id": [f"p{row}-0" for row in range(count)],
            "prompt_id": [f"p{row}" for row in range(count)],
            "text": list(texts),
            "sample_index": 0,
            "seed": range(count),
            "guidance_scale": 2.0,
            "num_inference_steps": 8,
            "checkpoint": "abc",
        }
    )
    images = [Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(count)]
    return ImageSet(metadata, images, torch.ones(count, 4, 2, 2))


@pytest.fixture
def draw():
    """`draw("a text", ...)`: an image set with an image a text."""
    return image_set_of
