"""Parts of a file of tensors that were never written are told from tensors of zeros."""

import pytest
import torch
from safetensors.torch import save_file

from rsidiff_kedro.core.untrusted.lost_pages import find_lost_pages_of


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_tensor_of_zeros_that_fills_pages_is_not_lost(tmp_path, suffix):
    """Wherever it begins; the page after it is lost if it is zeros too."""
    found = set()
    for filled in range(4, 4100, 4 if suffix == ".safetensors" else 64):
        tensors = {"a": torch.ones(filled // 4), "b": torch.zeros(1024), "c": torch.ones(2048)}
        path = tmp_path / f"a{suffix}"
        save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
        assert find_lost_pages_of(path) is None
        content = path.read_bytes()
        start = content.find(bytes(4096))
        if start % 4096 == 0:
            path.write_bytes(content[: start + 4096] + bytes(4096) + content[start + 8192 :])
            found.add(find_lost_pages_of(path) == (start, start + 8192))
    assert found == {True}


@pytest.mark.parametrize(
    "content", [b"PK\x05\x06" + b"\xff" * 18, b"\xff" * 8 + b"[" * 100_000, b"\x10" + bytes(7) + b"[]"]
)
def test_a_lost_page_is_found_where_no_tensors_are(tmp_path, content):
    path = tmp_path / "a.pt"
    path.write_bytes(b"1" * 4096 + bytes(4096) + b"1" * 4096 + content)
    assert find_lost_pages_of(path) == (4096, 8192)
    path.write_bytes(content + b"1" * (-len(content) % 4096) + bytes(4096) + b"1")
    assert find_lost_pages_of(path) is not None
