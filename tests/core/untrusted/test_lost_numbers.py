"""Parts of a file of tensors that were never written are told from zeros that are meant."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rsidiff_kedro.core.untrusted.lost_numbers import find_lost_numbers
from rsidiff_kedro.core.untrusted.lost_pages import PAGE


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_tensor_of_zeros_that_fills_pages_is_not_lost(tmp_path, suffix):
    """Wherever it begins; the page after it is lost if it is zeros too."""
    found = set()
    for filled in range(4, 4100, 4 if suffix == ".safetensors" else 64):
        tensors = {"a": torch.ones(filled // 4), "b": torch.zeros(1024), "c": torch.ones(2048)}
        path = tmp_path / f"a{suffix}"
        save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
        assert find_lost_numbers(path) is None
        content = path.read_bytes()
        start = content.find(bytes(4096))
        if start % 4096 == 0:
            path.write_bytes(content[: start + 4096] + bytes(4096) + content[start + 8192 :])
            found.add(find_lost_numbers(path) == (start, start + 8192))
    assert found == {True}


@pytest.mark.parametrize(
    "content", [b"PK\x05\x06" + b"\xff" * 18, b"\xff" * 8 + b"[" * 100_000, b"\x10" + bytes(7) + b"[]"]
)
def test_a_lost_page_is_found_where_no_tensors_are(tmp_path, content):
    path = tmp_path / "a.pt"
    path.write_bytes(b"1" * 4096 + bytes(4096) + b"1" * 4096 + content)
    assert find_lost_numbers(path) == (4096, 8192)
    path.write_bytes(content + b"1" * (-len(content) % 4096) + bytes(4096) + b"1")
    assert find_lost_numbers(path) is not None


KINDS = (torch.float32, torch.float16, torch.bfloat16)
RANDOM = torch.Generator().manual_seed(0)


def weights(*shape, scale=0.02):
    return torch.randn(shape, generator=RANDOM) * scale


def with_zeros(shape, *places):
    changed = weights(*shape)
    for place in places:
        changed[place] = 0
    return changed


def blocks(rows, columns, count):
    """Return a matrix of blocks on the diagonal, each of several rows."""
    of_row, of_column = torch.arange(rows) * count // rows, torch.arange(columns) * count // columns
    return weights(rows, columns) * (of_row[:, None] == of_column)


def positions(side, width):
    """Return embeddings of places, sines and cosines of rows and of columns; the sine of 0 is 0."""
    angles = torch.arange(side)[:, None] * torch.linspace(1, 0.01, width // 4)
    one = torch.cat([angles.sin(), angles.cos()], 1)
    return torch.cat([one.repeat_interleave(side, 0), one.repeat(side, 1)], 1)[None]


def between(start, end):
    return slice(None), slice(start, end)


MEANT = {
    "rows": lambda: with_zeros((300, 640), slice(0, 1), slice(90, 97), slice(280, 300)),
    "a row that the next ones end with zeros by chance": lambda: with_zeros((9, 2500), 4, (3, -1), (5, slice(0, 2))),
    "rows of a stack": lambda: with_zeros((3, 50, 2200), (1, 7), (2, slice(40, 50))),
    "channels": lambda: with_zeros((128, 64, 3, 3), slice(3, 9), 77),
    "channels of their own": lambda: with_zeros((4000, 1, 3, 3), slice(1001, 2001)),
    "columns": lambda: with_zeros((24, 9000), between(1001, 4007), between(8000, 9000)),
    "inputs of a convolution": lambda: with_zeros((32, 900, 3, 3), between(111, 555)),
    "blocks": lambda: blocks(40, 10_000, 5),
    "blocks of other sizes": lambda: blocks(41, 9_973, 3),
    "a triangle": lambda: weights(40, 4400).tril(2200),
    "another triangle": lambda: weights(40, 4400).triu(2200),
    "one of three biases": lambda: with_zeros((9000,), slice(3000, 6000)),
    "one of three matrices": lambda: with_zeros((12, 9000), (5, slice(3000, 6000))),
    "a head of one row": lambda: with_zeros((12, 9600), (5, slice(2400, 4800))),
    "the end of a vector that is saved as a row": lambda: with_zeros((1, 10_000), between(3001, 10_000)),
    "all": lambda: torch.zeros(500, 500),
    "pruned": lambda: weights(500, 4000) * (torch.rand(500, 4000, generator=RANDOM) < 0.002),
    "vanishing": lambda: weights(500, 4000, scale=1) * torch.logspace(-1, -12, 500)[:, None],
    "vanishing in float16": lambda: (weights(500, 4000, scale=1) * torch.logspace(-1, -12, 500)[:, None]).half(),
    "rounded to bfloat16": lambda: with_zeros((300, 640), slice(0, 1), slice(90, 97)).bfloat16(),
    "positions": lambda: positions(6, 8192),
    "numbers of other kinds": lambda: torch.cat([torch.arange(1, 5000), torch.zeros(5000), torch.arange(1, 99)]).long(),
}


@pytest.mark.parametrize("meant", MEANT)
def test_zeros_that_are_meant_are_not_lost(tmp_path, meant):
    """Of each type, wherever they lie in the file, and beside whatever tensors of zeros."""
    path, tensor = tmp_path / "a.safetensors", MEANT[meant]()
    for kind in KINDS if tensor.is_floating_point() else [tensor.dtype]:
        for first in (1, 2, 3, 517):
            tensors = {"a": weights(first), "b": tensor.to(kind), "c": weights(2, 3), "d": torch.zeros(2000)}
            save_file(tensors | {"e": weights(50, 50), "f": tensor.to(kind).clone()}, path)
            assert find_lost_numbers(path) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(320, 1280), (64, 160, 3, 3), (2, 99, 768)])
def test_zeros_that_tear_tensors_apart_are_lost(tmp_path, shape, kind):
    """Wherever they start and end, as where segments of a download did; few holes look as if they were meant."""
    path, rng, found = tmp_path / "a.safetensors", np.random.default_rng(0), []
    names = ("a", "b", "c")
    save_file({name: weights(*shape).to(kind) for name in names} | {"d": torch.zeros(640)}, path)
    content = path.read_bytes()
    first = 8 + int.from_bytes(content[:8], "little")
    assert find_lost_numbers(path) is None
    for _ in range(60):
        length = int(rng.integers(PAGE + 8, 60_000))
        start = int(rng.integers(first, len(content) - 4000 - length))
        path.write_bytes(content[:start] + bytes(length) + content[start + length :])
        lost = find_lost_numbers(path)
        found.append(lost is not None)
        assert lost is None or (abs(lost[0] - start) < PAGE and abs(lost[1] - start - length) < PAGE)
    assert sum(found) > 45


def test_zeros_from_within_a_row_to_the_files_end_are_lost(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": weights(300, 700), "b": weights(300, 700)}, path)
    content = path.read_bytes()
    for missing in (1234 * 4 + 9, 300 * 700 * 4 - 101 * 4, 300 * 700 * 4 + 50_001 * 4):
        path.write_bytes(content[:-missing] + bytes(missing))
        assert find_lost_numbers(path) is not None
    path.write_bytes(content[: -9 * 700 * 4] + bytes(9 * 700 * 4))  # rows
    assert find_lost_numbers(path) is None


@pytest.mark.parametrize("entry", [{"dtype": "F32", "shape": [3], "data_offsets": [0, 20_000]}, {"dtype": "F32"}, 5])
def test_a_header_that_does_not_fit_says_nothing(tmp_path, entry):
    header = json.dumps({"__metadata__": {"a": "b"}, "a": entry}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"1" * 5000 + bytes(10_000) + b"1" * 5000)
    assert find_lost_numbers(path) is None
