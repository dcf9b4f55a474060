"""Find parts of a file that were never written, as after a crash or a download that was not finished.

A file system leaves zeros in their place, at the file's full length, and many decoders make pixels of them.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image


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
_JPEG_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"
_JPEG_CODES = 0xC4
"""Marker of tables of codes."""
_JPEG_SEQUENTIAL, _JPEG_PROGRESSIVE, _JPEG_FRAMES = (0xC0, 0xC1), 0xC2, {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of images: of those that say all of a block at once, of those that say it in several scans, and of any."""
_JPEG_WITHOUT_LENGTH, _JPEG_NOTES = {0x00, 0x01, *range(0xD0, 0xD8)}, {0xFE, *range(0xE0, 0xF0)}
"""Markers of a JPEG that stand alone, and those of metadata."""
_HEADER = Holes(512, 32)
"""A table of a JPEG holds no page of zeros, but may hold 16 beside one."""
_RIFF_START, _WEBP_PIXELS, _WEBP_FRAME = 12, (b"VP8 ", b"VP8L"), 24
"""Where the first chunk is; chunks of pixels; bytes before the chunks in one of a frame."""
_JP2_START = b"\xff\x4f\xff\x51"
_MANY_ZEROS = re.compile(rb"\0{%d,}" % LONGEST)
_SOME_ZEROS = re.compile(rb"\0{%d,}" % _LAST)
_TRANSPARENT_PIXELS_PER_ZERO = 8
"""The fewest equally transparent pixels that a WebP says by a byte of zeros: one bit each."""
_TAIL, _OTHER_CODES = 32, (0x55, 0xAA, 0x6D)
"""Bytes at the end of a JPEG's code, and what to write in their place to see whether they are pixels."""
_CUT = 8
"""Bytes at the end of a WebP's code to leave out to see whether they are pixels: VP8 may end with two that are none."""
_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xff]", re.DOTALL)
_PIXELS_PER_ZERO, _PROGRESSIVE_PIXELS_PER_ZERO = 24, 64
"""The fewest pixels of one color that a JPEG says by a byte of zeros: three blocks of seven bits, in a progressive one
of less than three bits."""


def find_lost_pages(
    content: Any, holes: Holes, are_meant: Callable[[int, int], bool] | None = None
) -> tuple[int, int] | None:
    """Return where the first lost pages of a file's bytes start and end; None if there are none.

    Args:
        are_meant: tells of zeros, from the first one to the end of the last one, whether something else made them.
    """
    values = np.frombuffer(content, np.uint8)
    whole = values[: len(values) // holes.page * holes.page].reshape(-1, holes.page)
    rest = values[whole.size :]
    ends_empty = len(rest) >= _LAST and not rest.any()
    is_empty = np.concatenate([[False], ~whole.view(np.uint64).any(axis=1), [ends_empty], [False]])
    edges = np.flatnonzero(np.diff(is_empty)).reshape(-1, 2) * holes.page
    for start, end in edges.tolist():
        before, after = values[max(0, start - holes.near) : start], values[end : end + holes.near]
        at_end = end >= len(values) or not values[end:].any()
        if not before.any() or not (at_end or after.any()):
            continue
        end = len(values) if at_end else end
        first, last = start - int(np.argmax(before[::-1] != 0)), end if at_end else end + int(np.argmax(after != 0))
        if are_meant is None or not are_meant(first, last):
            return start, end
    return None


def blank(content: bytes, notes: Iterable[Any]) -> bytes:
    """Return a file's bytes with its metadata (color profile, EXIF, XMP) overwritten, whose zeros say nothing."""
    for note in notes:
        if isinstance(note, bytes) and len(note) >= _LAST and any(note):
            content = content.replace(note, b"\xff" * len(note))
    return content


def coded_part(content: bytes, kind: str) -> bytes:
    """Return an image's bytes in which all is overwritten that is no compressed pixels, as far as its format tells."""
    match kind:
        case "WEBP":
            parts = [(start, end) for _, start, end in _webp_pixels(content)]
        case "JPEG2000":
            start, end = content.find(_JP2_START), content.rfind(_JPEG_END)
            parts = [(start, end + 2 if end > start else len(content))]
        case _:
            return content
    coded = bytearray(b"\xff" * len(content))
    for start, end in parts:
        coded[start:end] = content[start:end]
    return bytes(coded)


def find_lost_code(webp: bytes) -> tuple[int, int] | None:
    """Return where a WebP has zeros in place of code of its first image; None if it has none.

    An area of one color may be zeros, too, and so may one that is equally transparent. But zeros in place of lost bytes
    decode to more pixels than those bytes did, or to codes that make no sense, where the decoder stops. So code is left
    over at the end, and no pixel changes without it; other code cannot be decoded without its end.
    """
    for name, start, end in _webp_pixels(webp):
        zeros = [found.span() for found in _SOME_ZEROS.finditer(webp, start, end)]
        if not zeros:
            continue
        pixels = _decoded(webp, "WEBP")
        transparent = sum(last - first for first, last in zeros if name == b"ALPH" and last - first >= LONGEST)
        has_no_area = _flat_pixels(pixels[..., 3:]) < _TRANSPARENT_PIXELS_PER_ZERO * transparent
        if has_no_area or np.array_equal(_decoded(_shortened(webp, start, end), "WEBP"), pixels):
            return max(zeros, key=lambda run: run[1] - run[0])
    return None


def _shortened(webp: bytes, start: int, end: int) -> bytes:
    """Return a WebP without the last bytes of the chunk of pixels that starts and ends there."""
    shorter = bytearray(webp)
    frames = [place for _, place, last in _webp_chunks(webp) if place <= start < last]
    for place in {0, start, *frames}:  # whatever holds the bytes says how many it has
        size = int.from_bytes(webp[place + 4 : place + 8], "little")
        shorter[place + 4 : place + 8] = (size - _CUT).to_bytes(4, "little")
    del shorter[end - _CUT : end]
    return bytes(shorter)


def find_lost_name(webp: bytes) -> tuple[int, int] | None:
    """Return where a WebP's first chunk lies whose name is none; None if all have names."""
    for name, start, end in _webp_chunks(webp):
        if not all(0x20 <= letter < 0x7F for letter in name):
            return start, min(end, len(webp))
    return None


def _webp_pixels(webp: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, start and end of each chunk of compressed pixels or transparency of a WebP's first image."""
    chunks = list(_webp_chunks(webp))
    for name, start, end in chunks:
        if name == b"ANMF":
            chunks = list(_webp_chunks(webp, start + _WEBP_FRAME, end))
            break
    for name, start, end in chunks:
        compression = webp[start + 8] & 3 if name == b"ALPH" and start + 8 < end else 0
        if name in _WEBP_PIXELS or compression == 1:  # 0 is without compression
            yield name, start, min(end, len(webp))


def _webp_chunks(webp: bytes, start: int = _RIFF_START, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each chunk of a WebP, or of a part of it, and where the chunk starts and ends."""
    last = min(len(webp), 8 + int.from_bytes(webp[4:8], "little") if end is None else end)
    while start + 8 <= last:
        end_of_chunk = start + 8 + int.from_bytes(webp[start + 4 : start + 8], "little")
        yield webp[start : start + 4], start, end_of_chunk
        start = end_of_chunk + end_of_chunk % 2


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
    may_have_zeros = _may_have_zeros(jpeg, start, end)
    is_progressive = any(marker == _JPEG_PROGRESSIVE for marker, _, _ in _segments(jpeg))
    rate = _PROGRESSIVE_PIXELS_PER_ZERO if is_progressive else _PIXELS_PER_ZERO
    flat, in_place = _flat_pixels(pixels), {}
    for found in (_MANY_ZEROS if may_have_zeros else _SOME_ZEROS).finditer(jpeg, start, end):
        first, last = found.span()
        begins, refines = _spectrum(jpeg, first)
        # In a progressive JPEG only scans of mean colors have zeros; other scans count flat blocks.
        if not may_have_zeros or flat < rate * (last - first) or (is_progressive and begins != 0):
            return first, last
        if not refines:  # else it has one bit of each block, whatever the bits before it are
            marker = _JPEG_MARKER.search(jpeg, last)
            in_place[marker.start() if marker else len(jpeg)] = first, last
    lost_end = _end_left_over(jpeg, in_place)
    if lost_end is not None:
        return in_place[lost_end]
    return find_lost_pages(b"\xff" * start + jpeg[start : end + len(_JPEG_END)], COMPRESSED)


def _flat_pixels(pixels: np.ndarray) -> int:
    """Count the pixels [height, width, channels] that have the color of the one before."""
    return int(np.count_nonzero((pixels[:, 1:] == pixels[:, :-1]).all(axis=-1)))


def _spectrum(jpeg: bytes, place: int) -> tuple[int, int]:
    """Return the first coefficient of the scan at a place in a JPEG's code, and how many of its bits are known."""
    scan = jpeg.rfind(bytes([0xFF, _JPEG_SCAN]), 0, place)
    start = scan + 5 + 2 * jpeg[scan + 4]
    return jpeg[start], jpeg[start + 2] >> 4


def _end_left_over(jpeg: bytes, ends: Iterable[int]) -> int | None:
    """Return the first of some ends of a JPEG's code where the last bytes change no pixel; None if there is none.

    Zeros in place of lost bytes decode to more pixels than those bytes did. So code is left over at the end.

    Args:
        jpeg: the file's bytes.
        ends: of parts of the code that hold zeros.
    """
    pixels = None
    for end in ends:
        pixels = _decoded(jpeg, "JPEG") if pixels is None else pixels
        changed = (jpeg[: end - _TAIL] + bytes([other]) * _TAIL + jpeg[end:] for other in _OTHER_CODES)
        if all(np.array_equal(_decoded(each, "JPEG"), pixels) for each in changed):
            return end
    return None


def _decoded(content: bytes, kind: str) -> np.ndarray:
    """Return the pixels that an image decodes to; none if it does not."""
    try:
        with Image.open(io.BytesIO(content), formats=[kind]) as image:
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError):
        return np.empty((0, 0, 4), np.uint8)


def _may_have_zeros(jpeg: bytes, start: int, end: int) -> bool:
    """Tell whether a JPEG may say by zeros alone that blocks have one color.

    It may not if it has one scan, in which a component's code for the end of a block has ones.

    Args:
        jpeg: the file's bytes.
        start: where its first scan's code starts.
        end: where the image ends.
    """
    segments = list(_segments(jpeg))
    frames = [(marker, place) for marker, place, _ in segments if marker in _JPEG_FRAMES]
    if len(frames) != 1 or frames[0][0] not in _JPEG_SEQUENTIAL or bytes([0xFF, _JPEG_CODES]) in jpeg[start:end]:
        return True
    firsts: dict[int, int] = {}
    for place, last in (segment[1:] for segment in segments if segment[0] == _JPEG_CODES):
        place += 4
        while place + 17 < last:  # a table: its kind and number, how many codes of each length, their meanings
            firsts[jpeg[place]] = jpeg[place + 17]  # of the code that is all zeros
            place += 17 + sum(jpeg[place + 1 : place + 17])
    scan = segments[-1][1] + 4
    tables = [0x10 | jpeg[scan + 2 + 2 * place] & 0x0F for place in range(jpeg[scan])]
    return len(tables) != jpeg[frames[0][1] + 9] or all(firsts.get(each, 0) == 0 for each in tables)


def _tables(jpeg: bytes) -> tuple[bytes, int]:
    """Return a JPEG's bytes before its first scan's code, with the metadata overwritten, and where that code starts."""
    header = bytearray(jpeg)
    for marker, start, end in _segments(jpeg):
        if marker in _JPEG_NOTES:
            header[start:end] = b"\xff" * (min(end, len(jpeg)) - start)
        if marker == _JPEG_SCAN:
            return bytes(header[:end]), end
    return bytes(header), len(jpeg)


def _segments(jpeg: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the marker of each segment of a JPEG up to its first scan, and where the segment starts and ends."""
    start = 2
    while 0 <= (start := jpeg.find(b"\xff", start)) < len(jpeg) - 1:  # bytes before a marker are read over
        marker, length = jpeg[start + 1], 2 + int.from_bytes(jpeg[start + 2 : start + 4])
        if marker == 0xFF or marker in _JPEG_WITHOUT_LENGTH:
            start += 1 if marker == 0xFF else 2
            continue
        yield marker, start, start + length
        if marker == _JPEG_SCAN:
            return
        start += length
