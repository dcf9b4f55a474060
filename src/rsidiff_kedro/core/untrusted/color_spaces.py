"""Read in which color space a file's pixels are written, where its header says so without a profile, and convert them.

A PNG says it in its chunks cICP, sRGB, gAMA and cHRM, an AVIF in its box nclx. Of a file only these headers are read;
one that is broken says nothing.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

_Primaries = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]


class UnreadSpaceError(ValueError):
    """Colors that are not converted; the message names them."""


@dataclass(frozen=True)
class ColorSpace:
    """Meaning of the values of pixels.

    Attributes:
        primaries: the chromaticities x and y of red, green, blue and white.
        gamma: light is the value to the power of it; None for the curve of sRGB.
    """

    primaries: _Primaries
    gamma: float | None = None


_D65, _BLUE = (0.3127, 0.3290), (0.15, 0.06)
SRGB = ColorSpace(((0.64, 0.33), (0.30, 0.60), _BLUE, _D65))
DISPLAY_P3 = ColorSpace(((0.68, 0.32), (0.265, 0.69), _BLUE, _D65))
ADOBE_RGB = ColorSpace(((0.64, 0.33), (0.21, 0.71), _BLUE, _D65), 563 / 256)
"""Adobe RGB (1998), version 2005-05."""

# Codes of ITU-T H.273, which cICP and nclx share. Others mean sRGB's, or what is hardly told from it, or nothing.
_DISPLAY_P3_CODE = 12
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
_UNREAD_PRIMARIES = {9: "BT.2020", 10: "XYZ", 11: "DCI-P3"}
_UNREAD_CURVES = {16: "PQ", 17: "SMPTE ST 428", 18: "HLG"}
_UNSPECIFIED = (2, 2)

_CHUNKS = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}
"""Chunks of a PNG that say something about colors, and their sizes in bytes."""
_USUAL_GAMMA, _CLOSE_GAMMA, _CLOSE_PRIMARIES = 2.2, 0.05, 0.001
"""A gamma that differs from 2.2 by this share, and primaries that differ from sRGB's by so much, stand for sRGB."""
_MOST_GAMMA = 10.0
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_ROWS = 256
"""Of pixels that are converted at once, because they take twenty times the memory meanwhile."""


def stated_space(path: Path, image: Image.Image) -> ColorSpace | None:
    """Return the color space that the header of an open image's file states; None if it states none.

    A profile counts before all but cICP, so with one, nothing else is stated.

    Raises:
        UnreadSpaceError: it is one that is not converted, as those of HDR.
    """
    with path.open("rb") as file:
        if image.format == "PNG":
            return _png_space(file)
        if image.format == "AVIF" and not image.info.get("icc_profile"):
            return _avif_space(file)
    return None


def in_srgb(image: Image.Image, space: ColorSpace) -> Image.Image:
    """Convert an RGB image from a color space to sRGB; colors that sRGB lacks are cut."""
    if space == SRGB:
        return image
    pixels, matrix = np.array(image), _to_linear_srgb(space.primaries)
    values = np.arange(256, dtype=np.float32) / 255
    curve = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = (curve if space.gamma is None else values**space.gamma).astype(np.float32)
    for row in range(0, len(pixels), _ROWS):
        light = np.clip(linear[pixels[row : row + _ROWS]] @ matrix.T, 0.0, 1.0)
        encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        pixels[row : row + _ROWS] = np.rint(encoded * 255)
    return Image.fromarray(pixels)


def _to_linear_srgb(primaries: _Primaries) -> np.ndarray:
    """Return the matrix from linear values with these primaries to linear sRGB; white stays white (Bradford)."""
    theirs, ours = _to_xyz(primaries), _to_xyz(SRGB.primaries)
    cones = [_BRADFORD @ matrix.sum(axis=1) for matrix in (theirs, ours)]
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(cones[1] / cones[0]) @ _BRADFORD
    return (np.linalg.inv(ours) @ adapted @ theirs).astype(np.float32)


def _to_xyz(primaries: _Primaries) -> np.ndarray:
    """Return the matrix from linear values to CIE XYZ."""
    red, green, blue, white = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in primaries)
    colors = np.column_stack([red, green, blue])
    return colors * np.linalg.solve(colors, white)


def _coded_space(primaries: int, curve: int) -> ColorSpace | None:
    """Return the space of two codes of ITU-T H.273."""
    unread = [names[code] for names, code in ((_UNREAD_PRIMARIES, primaries), (_UNREAD_CURVES, curve)) if code in names]
    if unread:
        raise UnreadSpaceError(f"its colors are written in {' with '.join(unread)}, which is not read")
    if (primaries, curve) == _UNSPECIFIED:
        return None
    return _space((DISPLAY_P3 if primaries == _DISPLAY_P3_CODE else SRGB).primaries, _GAMMAS.get(curve))


def _space(primaries: _Primaries, gamma: float | None) -> ColorSpace:
    """Return a space; one that nearly is sRGB is sRGB, as PNGs of it often have a gamma of 1 / 0.45455."""
    if np.abs(np.subtract(primaries, SRGB.primaries)).max() > _CLOSE_PRIMARIES:
        return ColorSpace(primaries, gamma)
    usual = gamma is None or abs(gamma / _USUAL_GAMMA - 1) <= _CLOSE_GAMMA
    return SRGB if usual else ColorSpace(SRGB.primaries, gamma)


def _png_space(file: IO[bytes]) -> ColorSpace | None:
    found = dict(_png_chunks(file))
    if b"cICP" in found and (space := _coded_space(*found[b"cICP"][:2])) is not None:
        return space
    if b"iCCP" in found:
        return None
    if b"sRGB" in found:
        return SRGB
    primaries, gamma = _chromaticities(found.get(b"cHRM")), _gamma(found.get(b"gAMA"))
    return None if primaries is None and gamma is None else _space(primaries or SRGB.primaries, gamma)


def _png_chunks(file: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the names and the content of the chunks before the pixels that tell about colors, of profiles the name."""
    place = 8
    while True:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8 or head[4:] in (b"IDAT", b"IEND"):
            return
        length, name = struct.unpack(">I4s", head)
        content = file.read(length) if length == _CHUNKS.get(name) else b""
        if name == b"iCCP" or (content and len(content) == length):
            yield name, content
        place += 12 + length


def _gamma(chunk: bytes | None) -> float | None:
    value = int.from_bytes(chunk or b"") / 100_000
    return 1 / value if 1 / _MOST_GAMMA <= value <= _MOST_GAMMA else None


def _chromaticities(chunk: bytes | None) -> _Primaries | None:
    """Return the primaries of a PNG; None if they are missing or none that can be."""
    if chunk is None:
        return None
    white, red, green, blue = (tuple(pair) for pair in (np.array(struct.unpack(">8I", chunk)) / 1e5).reshape(4, 2))
    primaries = red, green, blue, white
    if not all(0 <= x <= 1 and 0 < y <= 1 for x, y in primaries):
        return None
    try:
        matrix = _to_xyz(primaries)
    except np.linalg.LinAlgError:
        return None
    return primaries if np.isfinite(matrix).all() and (matrix[1] > 0).all() else None


def _avif_space(file: IO[bytes]) -> ColorSpace | None:
    places = [(0, file.seek(0, 2))]
    for name in (b"meta", b"iprp", b"ipco", b"colr"):
        skipped = 4 if name == b"meta" else 0  # its version and flags
        inside = [box for place in places for box in _boxes(file, *place)]
        places = [(start + skipped, end) for kind, start, end in inside if kind == name]
    for start, _ in places:
        file.seek(start)
        content = file.read(8)
        if len(content) == 8 and content.startswith(b"nclx"):
            return _coded_space(*struct.unpack(">HH", content[4:]))
    return None


def _boxes(file: IO[bytes], start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each box of an AVIF between two places, and where its content starts and ends."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        if len(head) < 8:
            return
        size, kind = struct.unpack(">I4s", head[:8])
        content = 16 if size == 1 else 8
        size = int.from_bytes(head[8:]) if size == 1 else size or end - start
        if size < content:
            return
        yield kind, start + content, min(start + size, end)
        start += size
