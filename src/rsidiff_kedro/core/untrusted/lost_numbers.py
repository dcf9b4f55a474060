"""Find parts of a file of tensors that were never written, and tell them from tensors, rows and columns of zeros.

They are zeros, as `lost_pages` says. Of pages they are found by where they lie. A part of another kind, as where a
segment of a download stopped, tears dense numbers apart: it starts and ends within rows, at no column where those above
or below do, while what is meant to be zero is a tensor, rows, columns or blocks of one, or single numbers.
"""

import json
import math
import struct
import zipfile
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from rsidiff_kedro.core.untrusted.lost_pages import PAGE, UNCOMPRESSED, find_lost_pages

_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of those types, in safetensors' words, whose zeros are looked at."""
_DENSE = 16
"""Numbers beside lost ones that are not zero; of pruned or vanishing weights, some are."""
_SLACK = 2
"""Numbers beside a row of zeros that may be zero by chance."""
_BLOCKS = 24
"""Rows consist of up to 4, 6 or 8 blocks, such as queries, keys and values, of which some may be zero."""
_SHORTEST = 64
"""Numbers of the last dimensions that count as a row."""
_BLURRED = 8
"""Numbers by which a block of zeros may start or end elsewhere in the next row."""
_ZIP_LENGTHS = 26
"""Where a member's header has the lengths of its name and of its extra field, before its data."""


class _Tensor(NamedTuple):
    """The place of a tensor in a file.

    Attributes:
        start: in bytes, as `end`.
        size: bytes of a number.
        rows: numbers of a row, of each kind; none if its zeros say nothing.
    """

    start: int
    end: int
    size: int = 1
    rows: tuple[int, ...] = ()

    def has_border(self, position: int, forward: bool) -> bool:
        """Tell whether zeros that start here, or end here, do so with the tensor or a row.

        A number beside them may have zeros for some of its bytes.
        """
        place = self.start - position if forward else position - self.start
        return any(
            place % length < self.size for length in (self.end - self.start, *(row * self.size for row in self.rows))
        )


class _Tensors:
    """Tensors in the order in which a file holds them."""

    def __init__(self, numbers: np.ndarray, tensors: list[_Tensor]) -> None:
        self._numbers, self._tensors = numbers, sorted(each for each in tensors if each.start < each.end)
        self._starts = [each.start for each in self._tensors]

    def are_meant(self, start: int, end: int) -> bool:
        """Tell whether zeros from here to there are tensors or rows."""
        ends = ((start, True), (end, False))
        return all(any(each.has_border(place, way) for each in self._around(place)) for place, way in ends)

    def are_torn(self, start: int, end: int) -> bool:
        """Tell whether zeros tear tensors apart at both ends, or at their start and go on to the file's end."""
        at_end = end == len(self._numbers)
        return self._is_torn(start, forward=True) and (at_end or self._is_torn(end, forward=False))

    def _around(self, position: int) -> list[_Tensor]:
        """Return the tensors that this position is in, or at the start or the end of."""
        last = bisect_right(self._starts, position)
        return [each for each in self._tensors[max(0, last - 2) : last] if each.start <= position <= each.end]

    def _is_torn(self, position: int, forward: bool) -> bool:
        """Tell whether dense numbers become zeros here, going forward or backward, for no reason that can be meant."""
        tensor = next((each for each in self._around(position) if each.start < position < each.end and each.rows), None)
        if tensor is None:
            return False
        content = self._numbers[tensor.start : tensor.end]
        place = -(-(position - tensor.start) // tensor.size)
        if not forward:  # as if the tensor were read from its end; its first number that is not zero stays one
            content, place = content[::-1], -(-(tensor.end - position) // tensor.size)
        content = content.reshape(-1, tensor.size)
        for row in tensor.rows:
            if -place % row <= _SLACK or place % (row // math.gcd(row, _BLOCKS)) == 0:
                return False
            if any(_start_zeros(content, place + step) for step in (-row, row)):
                return False
        return place >= _DENSE and bool(content[place - _DENSE : place].any(axis=1).all())


def _start_zeros(content: np.ndarray, place: int) -> bool:
    """Tell whether numbers start to be zero here, or nearly here."""
    before, after = place - _BLURRED, place + _BLURRED
    if before < 0 or after + _BLURRED > len(content):
        return False
    return bool(content[before:place].any()) and not content[after : after + _BLURRED].any()


def find_lost_numbers(path: Path) -> tuple[int, int] | None:
    """Return where the first lost bytes of a file of tensors start and end; None if there are none.

    The file is mapped and not held in memory. Of a zip archive (`.pt`), whose tensors' shapes are not read, only lost
    pages are found.
    """
    if not path.stat().st_size:
        return None
    numbers = np.memmap(path, np.uint8, "r")
    runs = list(_runs_of_zeros(numbers))
    lost = find_lost_pages(numbers, UNCOMPRESSED)
    if lost is None and not runs:
        return None
    tensors = _Tensors(numbers, _tensors_in(path))
    pages = lost and find_lost_pages(numbers, UNCOMPRESSED, tensors.are_meant)
    return pages or next((run for run in runs if tensors.are_torn(*run)), None)


def _runs_of_zeros(numbers: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield where zeros start and end that are as many as a page; half of one lies at a multiple of its size."""
    half = PAGE // 2
    whole = numbers[: len(numbers) // half * half].reshape(-1, half)
    is_empty = np.concatenate([[False], ~whole.view(np.uint64).any(axis=1), [False]])
    for start, end in (np.flatnonzero(np.diff(is_empty)).reshape(-1, 2) * half).tolist():
        first = start - int(np.argmax(np.append(numbers[max(0, start - half) : start][::-1] != 0, True)))
        last = end + int(np.argmax(np.append(numbers[end : end + half] != 0, True)))
        if last - first >= PAGE:
            yield first, last


def _tensors_in(path: Path) -> list[_Tensor]:
    """Return the tensors of a safetensors file, or the members of a zip archive; none of another file."""
    with path.open("rb") as file:
        try:
            return _in_zip(file) if zipfile.is_zipfile(file) else _in_safetensors(file)
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError, MemoryError, RecursionError):
            return []  # neither
        except (zipfile.BadZipFile, struct.error, OSError):  # a broken archive
            return []


def _in_zip(file: BinaryIO) -> list[_Tensor]:
    members = []
    for member in zipfile.ZipFile(file).infolist():
        file.seek(member.header_offset + _ZIP_LENGTHS)
        start = file.tell() + 4 + sum(struct.unpack("<HH", file.read(4)))
        members.append(_Tensor(start, start + member.compress_size))
    return members


def _in_safetensors(file: BinaryIO) -> list[_Tensor]:
    file.seek(0)
    first = 8 + int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(first - 8))
    return [_tensor(first, entry) for name, entry in header.items() if name != "__metadata__"]


def _tensor(first: int, entry: dict[str, Any]) -> _Tensor:
    start, end = (first + offset for offset in entry["data_offsets"])
    size, shape = _SIZES.get(entry["dtype"], 0), entry["shape"]
    if not size or end - start != size * math.prod(shape):
        return _Tensor(start, end)
    shape = [length for length in shape if length != 1]  # of a vector that is saved as a row, a part may be zero
    inner = [math.prod(shape[place:]) for place in range(1, len(shape))]
    rows = [*inner[:1], *(each for each in inner[1:] if each >= _SHORTEST)]
    return _Tensor(start, end, size, tuple(rows))
