"""Hold rows of tensors without copying them, and write them part by part: memory does not grow with their number."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CHUNK_BYTES = 2**20
"""In memory at once, but at least a row."""
_DTYPES = {"torch.float32": "F32", "torch.bfloat16": "BF16"}
"""Names in safetensors files."""


@dataclass(frozen=True)
class ShardFile:
    """Rows in a safetensors file, which is opened when they are asked for."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: "torch.dtype"

    def rows(self) -> "Tensor":
        """Return all rows; the file is mapped, not read."""
        from safetensors.torch import load_file

        return load_file(self.path)[self.name]


class TensorRows:
    """Rows of one or more sources of the same row shape and dtype, in any order.

    Args:
        sources: tensors, which may be mapped files, or files that are opened when they are needed.
        numbers: of the rows, counted over all sources; None for all in order.
    """

    def __init__(self, sources: "Sequence[Tensor | ShardFile]", numbers: np.ndarray | None = None) -> None:
        if len({(tuple(source.shape[1:]), source.dtype) for source in sources}) != 1:
            raise ValueError("rows are of one shape and dtype, from one source at least")
        self._sources = list(sources)
        self._starts = np.cumsum([0, *(source.shape[0] for source in sources)])
        self._numbers = np.arange(self._starts[-1]) if numbers is None else np.asarray(numbers, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of all rows as one tensor."""
        return (len(self), *self._sources[0].shape[1:])

    @property
    def dtype(self) -> "torch.dtype":
        """Return the type of the values."""
        return self._sources[0].dtype

    def __getitem__(self, key: Any) -> "Tensor":
        """Return a part as one tensor in memory, indexed as a tensor is; `rows[:]` is all of it."""
        import torch  # slow to import, and a run that makes nothing does without

        numbers = torch.arange(len(self))[key[0] if isinstance(key, tuple) else key]
        found = self._read(self._numbers[numbers.reshape(-1).numpy()]).reshape(*numbers.shape, *self.shape[1:])
        return found[(slice(None),) * numbers.dim() + key[1:]] if isinstance(key, tuple) else found

    def _read(self, numbers: np.ndarray) -> "Tensor":
        import torch

        found = torch.empty((len(numbers), *self.shape[1:]), dtype=self.dtype)
        holders = np.searchsorted(self._starts, numbers, side="right") - 1
        for holder in np.unique(holders):
            places = np.flatnonzero(holders == holder)
            source = self._sources[holder]
            rows = source.rows() if isinstance(source, ShardFile) else source
            found[torch.from_numpy(places)] = rows[torch.from_numpy(numbers[places] - self._starts[holder])]
        return found

    def select(self, positions: Sequence[int] | np.ndarray) -> "TensorRows":
        """Return the rows at these positions, in this order."""
        return TensorRows(self._sources, self._numbers[np.asarray(positions, dtype=np.int64)])

    @staticmethod
    def join(parts: Sequence["Rows"]) -> "TensorRows":
        """Return the rows of one part after the other."""
        views = [part if isinstance(part, TensorRows) else TensorRows([part]) for part in parts]
        starts = np.cumsum([0, *(int(view._starts[-1]) for view in views)])
        numbers = [view._numbers + start for view, start in zip(views, starts, strict=False)]
        return TensorRows([source for view in views for source in view._sources], np.concatenate(numbers))


Rows = Union["Tensor", TensorRows]
"""A tensor, or rows of tensors."""


def select_rows(rows: Rows, positions: Sequence[int] | np.ndarray) -> TensorRows:
    """Return rows without copying them."""
    return (rows if isinstance(rows, TensorRows) else TensorRows([rows])).select(positions)


def chunks(rows: Rows) -> Iterator["Tensor"]:
    """Yield all rows in parts that fit in memory."""
    size = max(1, CHUNK_BYTES // max(1, prod(rows.shape[1:]) * rows.dtype.itemsize))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def are_finite(rows: Rows) -> bool:
    """Tell whether all values are finite, part by part."""
    return all(bool(part.isfinite().all()) for part in chunks(rows))


def save_rows(rows: Rows, name: str, path: Path) -> None:
    """Write a safetensors file of one tensor, part by part: the bytes that `safetensors.torch.save_file` writes."""
    import torch

    size = prod(rows.shape) * rows.dtype.itemsize
    entry = {"dtype": _DTYPES[str(rows.dtype)], "shape": list(rows.shape), "data_offsets": [0, size]}
    header = json.dumps({name: entry}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for part in chunks(rows):
            file.write(part.detach().cpu().contiguous().view(torch.uint8).numpy())
