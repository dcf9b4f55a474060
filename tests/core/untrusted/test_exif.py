"""Of Exif, images take which side is up, and Adobe RGB; other entries, however odd, change nothing."""

import struct

import numpy as np
import pytest
from PIL import Image

from rsidiff_kedro.core.untrusted.color_spaces import ADOBE_RGB
from rsidiff_kedro.core.untrusted.images import read_image

SHORT, RATIONAL, ASCII, SIGNED, SIGNED_RATIONAL, DOUBLE = 3, 5, 2, 9, 10, 12
ODD = {
    "no unit": (0x128, RATIONAL, 1, struct.pack("<II", 2, 1)),
    "a resolution in text": (0x11A, ASCII, 3, b"72\0"),
    "a negative resolution": (0x11A, SIGNED_RATIONAL, 1, struct.pack("<ii", -72, 1)),
    "a resolution of nothing": (0x11A, DOUBLE, 1, struct.pack("<d", float("nan"))),
    "a negative width": (0x100, SIGNED, 1, struct.pack("<i", -1)),
    "a date in numbers": (0x132, RATIONAL, 1, struct.pack("<II", 1, 1)),
}


def exif_of(*entries):
    """Return Exif with entries (tag, type, count, value)."""
    after = 8 + 2 + 12 * len(entries) + 4
    table, values = b"", b""
    for tag, kind, count, value in sorted(entries):
        inside = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", after + len(values))
        table += struct.pack("<HHI", tag, kind, count) + inside
        values += value if len(value) > 4 else b""
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + table + bytes(4) + values


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("orientation", [1, 6])
def test_an_odd_entry_neither_stops_nor_turns_a_photograph(tmp_path, name, orientation):
    path = tmp_path / "a.jpg"
    turn = (0x112, SHORT, 1, struct.pack("<H", orientation))
    Image.effect_noise((32, 16), 60).convert("RGB").save(path, exif=exif_of(turn, ODD[name]))
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert np.array_equal(np.asarray(read_image(path)), pixels if orientation == 1 else np.rot90(pixels, -1))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_ends_upright(tmp_path, kind):
    path, upright = tmp_path / "a", np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 255
    stored = {
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    for orientation, pixels in stored.items():
        exif = Image.Exif()
        exif[0x112] = orientation
        Image.fromarray(np.ascontiguousarray(pixels)).save(path, format=kind, exif=exif)
        read = np.asarray(read_image(path)).astype(int)
        assert read.shape == upright.shape and abs(read - upright).mean() < 10, orientation


@pytest.mark.parametrize(
    ("space", "index", "changes"),
    [(65535, "R03", True), (65535, "R98", False), (65535, None, False), (2, None, True), (1, None, False)],
)
def test_cameras_adobe_rgb_is_converted_as_its_profile_would_be(tmp_path, profile, space, index, changes):
    """Cameras mark it in Exif alone; the space "uncalibrated" alone says nothing, as phones write it for Display P3."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = space
    if index is not None:
        exif.get_ifd(0x8769)[0xA005] = {1: index}
    marked, profiled, plain = tmp_path / "marked.png", tmp_path / "profiled.png", tmp_path / "plain.png"
    Image.fromarray(pixels).save(marked, exif=exif.tobytes())
    Image.fromarray(pixels).save(profiled, icc_profile=profile(ADOBE_RGB))
    Image.fromarray(pixels).save(plain)
    wanted = np.asarray(read_image(profiled if changes else plain)).astype(int)
    assert abs(np.asarray(read_image(marked)) - wanted).max() <= 2
    assert not changes or abs(wanted - pixels).max() > 20
