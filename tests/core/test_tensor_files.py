"""A tensor file that a power cut has torn is not read, also where only its values have become zeros."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from rsidiff_kedro.core.tensor_files import load_tensors, save_tensors

TENSORS = {"a": torch.arange(600.0), "b": torch.ones(3, dtype=torch.bfloat16)}
TORN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "truncated": lambda whole: whole[:-100],
    "all zeros": lambda whole: bytes(len(whole)),
    "its end is zeros": lambda whole: whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2),
    "its last byte is zero": lambda whole: whole[:-1] + b"\0",
    "its start is zeros": lambda whole: bytes(64) + whole[64:],
}


@pytest.mark.parametrize("umask", [0o022, 0o007, 0o077])
def test_others_may_read_a_file_as_the_umask_says(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        save_tensors(TENSORS, tmp_path / "file")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~umask


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save_tensors(TENSORS, tmp_path / "file", {"made": "by me"})
    loaded = load_tensors(tmp_path / "file", {"made": "by me"})
    assert loaded is not None and loaded.keys() == TENSORS.keys()
    assert all(torch.equal(loaded[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("tear", TORN.values(), ids=TORN)
def test_a_torn_file_is_not_read(tmp_path: Path, tear: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "file"
    save_tensors(TENSORS, path)
    torn = tear(path.read_bytes())
    assert torn != path.read_bytes()
    path.write_bytes(torn)
    assert load_tensors(path) is None


@pytest.mark.parametrize("others", [{}, {"made": "by you"}])
def test_a_file_with_other_notes_is_not_read(tmp_path: Path, others: dict[str, str]) -> None:
    save_tensors(TENSORS, tmp_path / "file", {"made": "by me"})
    assert load_tensors(tmp_path / "file", others) is None


@pytest.mark.parametrize("tensors", [TENSORS, {}])
def test_a_file_without_a_digest_is_not_read(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, tmp_path / "file")
    assert load_tensors(tmp_path / "file") is None
    assert load_tensors(tmp_path / "none") is None
