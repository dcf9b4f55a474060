"""Colors are converted to sRGB from what a file's header says of them without a profile."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from rsidiff_kedro.core.untrusted.color_spaces import ADOBE_RGB, DISPLAY_P3
from rsidiff_kedro.core.untrusted.images import ImageReadError, read_header, read_image

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
ADOBE_PRIMARIES = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
SRGB_PRIMARIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


def png(*chunks, pixels=PIXELS, **options):
    """Return a PNG with these chunks (name, content) behind its first one."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    content = file.getvalue()
    added = [struct.pack(">I", len(data)) + n + data + struct.pack(">I", zlib.crc32(n + data)) for n, data in chunks]
    return content[:33] + b"".join(added) + content[33:]


def avif(primaries, curve, **options):
    """Return an AVIF whose box nclx has these codes."""
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "AVIF", quality=100, subsampling="4:4:4", **options)
    content = file.getvalue()
    place = content.index(b"nclx") + 4
    return content[:place] + struct.pack(">HH", primaries, curve) + content[place + 4 :]


def gamma(value):
    return b"gAMA", struct.pack(">I", value)


def chromaticities(*values):
    return b"cHRM", struct.pack(">8I", *values)


def coded(primaries, curve):
    return b"cICP", bytes([primaries, curve, 0, 1])


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a file of this content: its pixels as numbers."""

    def read(content):
        (tmp_path / "a").write_bytes(content)
        read_header(tmp_path / "a")
        return np.asarray(read_image(tmp_path / "a")).astype(int)

    return read


@pytest.mark.parametrize(
    ("chunks", "space"),
    [
        ([coded(12, 13)], DISPLAY_P3),
        ([chromaticities(31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)], DISPLAY_P3),
        ([gamma(45470), chromaticities(*ADOBE_PRIMARIES)], ADOBE_RGB),
    ],
)
def test_a_png_is_converted_as_its_profile_would_be(read, profile, chunks, space):
    wanted = read(png(icc_profile=profile(space)))
    assert abs(wanted - PIXELS).max() > 20
    assert abs(read(png(*chunks)) - wanted).max() <= 2


def test_an_avif_of_display_p3_is_converted_as_its_profile_would_be(read, profile):
    plain, wanted = read(avif(1, 13)), read(avif(1, 13, icc_profile=profile(DISPLAY_P3)))
    assert abs(plain - wanted).max() > 20
    assert abs(read(avif(12, 13)) - wanted).max() <= 2
    assert abs(read(avif(12, 16, icc_profile=profile(DISPLAY_P3))) - wanted).max() == 0  # the profile counts


def test_linear_light_is_converted_from_its_gamma(read):
    gray = np.full((32, 32, 3), 128, np.uint8)
    assert set(read(png(gamma(100_000), pixels=gray)).flat) == {188}
    assert set(read(png(coded(1, 8), pixels=gray)).flat) == {188}
    assert read(avif(1, 8)).mean() > read(avif(1, 13)).mean() + 30


@pytest.mark.parametrize(
    "chunks",
    [
        [gamma(45455), chromaticities(*SRGB_PRIMARIES)],
        [gamma(45000)],
        [(b"sRGB", b"\0"), gamma(100_000), chromaticities(*ADOBE_PRIMARIES)],
        [coded(1, 13), gamma(100_000)],
        [coded(1, 1)],
        [coded(2, 2)],
        [coded(5, 6)],
    ],
)
def test_what_is_srgb_or_nearly_stays_as_it_is(read, chunks):
    np.testing.assert_array_equal(read(png(*chunks)), PIXELS)


def test_a_profile_counts_before_gamma_and_after_the_code_of_a_space(read, profile):
    given = {"icc_profile": profile(ADOBE_RGB)}
    np.testing.assert_array_equal(read(png(gamma(100_000), **given)), read(png(**given)))
    np.testing.assert_array_equal(read(png(coded(1, 13), **given)), PIXELS)


def test_what_the_container_says_counts_before_exif(read):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 2
    assert abs(read(png(exif=exif.tobytes())) - PIXELS).max() > 20
    np.testing.assert_array_equal(read(png((b"sRGB", b"\0"), exif=exif.tobytes())), PIXELS)


@pytest.mark.parametrize("make", [lambda *codes: png(coded(*codes)), avif])
@pytest.mark.parametrize(
    ("codes", "name"),
    [
        ((9, 16), "BT.2020 with PQ"),
        ((9, 18), "BT.2020 with HLG"),
        ((9, 14), "BT.2020"),
        ((12, 16), "PQ"),
        ((2, 18), "HLG"),
        ((11, 17), "DCI-P3 with SMPTE ST 428"),
    ],
)
def test_colors_of_hdr_are_refused_by_name_before_a_run(tmp_path, make, codes, name):
    path = tmp_path / "a"
    path.write_bytes(make(*codes))
    for use in (read_header, read_image):
        with pytest.raises(ImageReadError, match=rf"written in {name}, which is not read\); convert it to sRGB"):
            use(path)


@pytest.mark.parametrize(
    "chunk",
    [
        (b"cICP", b"\x09"),
        (b"cICP", b"\x09\x10\x00\x01\x00"),
        gamma(0),
        gamma(2**32 - 1),
        chromaticities(*[0] * 8),
        chromaticities(*[2**32 - 1] * 8),
        chromaticities(*[31270, 32900] * 4),
        chromaticities(90000, 5000, *ADOBE_PRIMARIES[2:]),  # white is no mixture of the three
    ],
)
def test_broken_headers_say_nothing(read, chunk):
    np.testing.assert_array_equal(read(png(chunk)), PIXELS)


def test_damaged_boxes_are_read_or_refused(read):
    whole = avif(12, 13)
    end = whole.index(b"nclx") + 8
    for place in range(end):
        for value in (0, 1, 255):
            try:
                read(whole[:place] + bytes([value]) + whole[place + 1 :])
            except ImageReadError:
                continue
    for size in range(end):
        with pytest.raises(ImageReadError):
            read(whole[:size])
