"""Find parts of a file that were never written, as after a crash or a download that was not finished.

A file system leaves zeros in their place, at the file's full length, and many decoders make pixels of them.
"""

import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np


class Holes(NamedTuple):
    """Limits that tell lost zeros from others.

    Attributes:
        page: bytes; lost zeros begin and end at a multiple of it, or at the file's end.
        near: bytes beside a run of zeros that must hold something, for the run to begin or end there.
    """

    page: int
    near: int


PAGE = 4096
"""Bytes that file systems write at once."""
UNCOMPRESSED = Holes(PAGE, 8)
"""Black pixels are zeros, but hardly ever from the start of a page to the end of another."""
COMPRESSED = Holes(512, 2)
"""Pages of 512 bytes are the smallest of disks."""
LONGEST = 8192
"""Bytes of zeros that no compressed image has; programs leave up to 4,108 where they make room for metadata."""
_LAST = 512
"""Zeros at a file's end that are a lost page, and not padding."""
_CHUNK = struct.Struct(">I4s")
_PNG_START = 8
_ZIP_LENGTHS = 26
"""Where a member's header has the lengths of its name and of its extra field, before its data."""
_JPEG_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"
_JPEG_WITHOUT_LENGTH, _JPEG_NOTES = {0x00, 0x01, *range(0xD0, 0xD8)}, {0xFE, *range(0xE0, 0xF0)}
"""Markers of a JPEG that stand alone, and those of metadata."""
_HEADER = Holes(512, 32)
"""A table of a JPEG holds no page of zeros, but may hold 16 beside one."""
_RIFF_START, _WEBP_PIXELS = 12, (b"VP8 ", b"VP8L", b"ANMF")
_JP2_START = b"\xff\x4f\xff\x51"
_PIXELS_PER_ZERO = 24
"""Pixels of one color that a JPEG's byte of zeros is at least, if it is any: three blocks of seven bits."""


def find_lost_pages(content: Any, holes: Holes, borders: Set[int] = frozenset()) -> tuple[int, int] | None:
    """Return where the first lost pages of a file's bytes start and end; None if there are none.

    `borders` are the positions where a tensor starts or ends: zeros from border to border may be a tensor of zeros.
    """
    values = np.frombuffer(content, np.uint8)
    whole = values[: len(values) // holes.page * holes.page].reshape(-1, holes.page)
    rest = values[whole.size :]
    ends_empty = len(rest) >= _LAST and not rest.any()
    is_empty = np.concatenate([[False], ~whole.any(axis=1), [ends_empty], [False]])
    edges = np.flatnonzero(np.diff(is_empty)).reshape(-1, 2) * holes.page
    for start, end in edges.tolist():
        before, after = values[max(0, start - holes.near) : start], values[end : end + holes.near]
        at_end = end >= len(values) or not values[end:].any()
        if before.any() and (at_end or after.any()) and not {start, end} <= borders:
            return start, len(values) if at_end else end
    return None


def find_lost_pages_of(path: Path) -> tuple[int, int] | None:
    """Look for lost pages in a whole file of tensors, which is mapped and not held in memory."""
    if not path.stat().st_size:
        return None
    numbers = np.memmap(path, np.uint8, "r")
    lost = find_lost_pages(numbers, UNCOMPRESSED)
    return lost and find_lost_pages(numbers, UNCOMPRESSED, _borders(path))


def _borders(path: Path) -> Set[int]:
    """Return where the tensors of a safetensors file, or the members of a zip archive (`.pt`), start and end."""
    with path.open("rb") as file:
        try:
            return _borders_in_zip(file) if zipfile.is_zipfile(file) else _borders_in_safetensors(file)
        except (ValueError, AttributeError, TypeError, OverflowError, MemoryError, RecursionError):  # neither
            return frozenset()
        except (zipfile.BadZipFile, struct.error, OSError):  # a broken archive
            return frozenset()


def _borders_in_zip(file: BinaryIO) -> Set[int]:
    borders: set[int] = set()
    for member in zipfile.ZipFile(file).infolist():
        file.seek(member.header_offset + _ZIP_LENGTHS)
        start = file.tell() + 4 + sum(struct.unpack("<HH", file.read(4)))
        borders |= {start, start + member.compress_size}
    return borders


def _borders_in_safetensors(file: BinaryIO) -> Set[int]:
    file.seek(0)
    start = 8 + int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(start - 8))
    return {start + offset for tensor in header.values() for offset in tensor.get("data_offsets", ())}


def blank(content: bytes, notes: Iterable[Any]) -> bytes:
    """Return a file's bytes with its metadata (color profile, EXIF, XMP) overwritten, whose zeros say nothing."""
    for note in notes:
        if isinstance(note, bytes) and len(note) >= _LAST and any(note):
            content = content.replace(note, b"\xff" * len(note))
    return content


def coded_part(content: bytes, kind: str) -> bytes:
    """Return an image's bytes in which all is overwritten that is no compressed pixels, as far as its format tells."""
    parts: list[tuple[int, int]] = []
    if kind == "WEBP":
        for name, start, end in _webp_chunks(content):
            compression = content[start + 8] & 3 if name == b"ALPH" and start + 8 < end else 0
            if name in _WEBP_PIXELS or compression == 1:  # 0 is without compression
                parts.append((start, end))
    elif kind == "JPEG2000":
        start, end = content.find(_JP2_START), content.rfind(_JPEG_END)
        parts.append((start, end + 2 if end > start else len(content)))
    else:
        return content
    coded = bytearray(b"\xff" * len(content))
    for start, end in parts:
        coded[start:end] = content[start:end]
    return bytes(coded)


def find_lost_name(webp: bytes) -> tuple[int, int] | None:
    """Return where a WebP's first chunk lies whose name is none; None if all have names."""
    for name, start, end in _webp_chunks(webp):
        if not all(0x20 <= letter < 0x7F for letter in name):
            return start, min(end, len(webp))
    return None


def _webp_chunks(webp: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each chunk of a WebP, and where the chunk starts and ends."""
    start, size = _RIFF_START, 8 + int.from_bytes(webp[4:8], "little")
    while start + 8 <= min(len(webp), size):
        end = start + 8 + int.from_bytes(webp[start + 4 : start + 8], "little")
        yield webp[start : start + 4], start, end
        start = end + end % 2


def find_zeros(content: bytes) -> tuple[int, int] | None:
    """Return where a compressed image holds more zeros than its code has."""
    start = content.find(bytes(LONGEST))
    return None if start < 0 else (start, start + LONGEST)


def find_broken_chunk(png: bytes) -> tuple[int, int] | None:
    """Return where a PNG's first chunk of pixels that fails its checksum starts and ends; None if all are whole.

    Pillow does not read the checksum of the last one. A PNG without its last chunk, IEND, ends too early.
    """
    start = _PNG_START
    while start + 12 <= len(png):
        length, kind = _CHUNK.unpack_from(png, start)
        end = start + 12 + length
        is_whole = end <= len(png) and zlib.crc32(png[start + 4 : end - 4]) == int.from_bytes(png[end - 4 : end])
        if kind in (b"IDAT", b"IEND") and not is_whole:
            return start, min(end, len(png))
        if kind == b"IEND":
            return None
        start = end
    return min(start, len(png)), len(png)


def find_lost_scan(jpeg: bytes, pixels: np.ndarray) -> tuple[int, int] | None:
    """Return where a JPEG's pixels are lost: they do not end, or hold zeros though the image has no area of one color.

    Whatever follows the first image's end does not count: padding, or further images.

    Args:
        jpeg: the file's bytes.
        pixels: decoded from them, uint8 [height, width, 3].
    """
    header, start = _tables(jpeg)
    end = jpeg.find(_JPEG_END, start)
    if end < 0:
        return start, len(jpeg)
    lost = find_lost_pages(header + jpeg[start : end + len(_JPEG_END)], _HEADER)
    if lost is not None and lost[0] < start:
        return lost
    zeros = find_zeros(jpeg[start:end])
    flat = np.count_nonzero((pixels[:, 1:] == pixels[:, :-1]).all(axis=-1))
    if zeros is not None and flat < _PIXELS_PER_ZERO * LONGEST:
        return start + zeros[0], start + zeros[1]
    return find_lost_pages(b"\xff" * start + jpeg[start : end + len(_JPEG_END)], COMPRESSED)


def _tables(jpeg: bytes) -> tuple[bytes, int]:
    """Return a JPEG's bytes before its first scan's code, with the metadata overwritten, and where that code starts."""
    header = bytearray(jpeg)
    start = 2
    while 0 <= (start := jpeg.find(b"\xff", start)) < len(jpeg) - 1:  # bytes before a marker are read over
        marker, length = jpeg[start + 1], 2 + int.from_bytes(jpeg[start + 2 : start + 4])
        if marker == 0xFF or marker in _JPEG_WITHOUT_LENGTH:
            start += 1 if marker == 0xFF else 2
            continue
        if marker in _JPEG_NOTES:
            header[start : start + length] = b"\xff" * min(length, len(jpeg) - start)
        start += length
        if marker == _JPEG_SCAN:
            return bytes(header[:start]), start
    return bytes(header), len(jpeg)
