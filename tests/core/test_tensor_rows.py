"""Rows of tensors are read, chosen and written as the tensor that they stand for."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rsidiff_kedro.core import tensor_rows
from rsidiff_kedro.core.tensor_rows import ShardFile, TensorRows, are_finite, save_rows, select_rows

WHOLE = torch.arange(60.0).reshape(10, 3, 2)


@pytest.fixture
def rows(tmp_path: Path) -> TensorRows:
    """Return all rows, from a tensor, a file of four rows and another tensor."""
    save_file({"values": WHOLE[3:7].clone()}, tmp_path / "shard.safetensors")
    file = ShardFile(tmp_path / "shard.safetensors", "values", (4, 3, 2), torch.float32)
    return TensorRows([WHOLE[:3], file, WHOLE[7:]])


@pytest.mark.parametrize(
    "key", [slice(None), slice(2, 8, 3), 4, -1, [9, 0, 4, 4], torch.tensor([[5], [2]]), (slice(1, 5), 0), ([8, 3], 1)]
)
def test_rows_are_indexed_as_a_tensor_is(rows: TensorRows, key: object) -> None:
    assert torch.equal(rows[key], WHOLE[key])
    assert (len(rows), rows.shape, rows.dtype) == (10, WHOLE.shape, WHOLE.dtype)


def test_chosen_rows_can_be_chosen_from_and_joined(rows: TensorRows) -> None:
    chosen = rows.select([8, 3, 5, 0]).select([3, 1])
    assert torch.equal(chosen[:], WHOLE[[0, 3]])
    joined = TensorRows.join([chosen, WHOLE[4:6], select_rows(WHOLE, [])])
    assert torch.equal(joined[:], WHOLE[[0, 3, 4, 5]])


def test_choosing_copies_nothing_and_reads_no_file(rows: TensorRows, tmp_path: Path) -> None:
    (tmp_path / "shard.safetensors").unlink()
    chosen = TensorRows.join([rows.select([4, 1]), rows.select([2])])
    assert torch.equal(chosen[1:], WHOLE[1:3])
    with pytest.raises(OSError):
        chosen[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [0, 1, 3, 10])
def test_the_file_is_the_one_that_safetensors_writes(
    tmp_path: Path, monkeypatch, dtype: torch.dtype, size: int
) -> None:
    monkeypatch.setattr(tensor_rows, "CHUNK_BYTES", 3 * 24)
    tensor = WHOLE[:size].to(dtype)
    save_file({"latents": tensor.clone()}, tmp_path / "theirs")
    save_rows(TensorRows([tensor]), "latents", tmp_path / "rows")
    save_rows(tensor, "latents", tmp_path / "tensor")
    assert len({(tmp_path / name).read_bytes() for name in ("theirs", "rows", "tensor")}) == 1


def test_a_value_that_is_not_finite_is_found_in_any_part(monkeypatch) -> None:
    monkeypatch.setattr(tensor_rows, "CHUNK_BYTES", 3 * 24)
    assert are_finite(WHOLE)
    for row in range(len(WHOLE)):
        spoiled = WHOLE.clone()
        spoiled[row, 1, 1] = float("nan")
        assert not are_finite(select_rows(spoiled, range(len(WHOLE))))


def test_rows_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        TensorRows([WHOLE, WHOLE[:, :2]])
