"""Images of unknown origin: transparent parts are white, sound pixels are read whatever else the file holds."""

import io
import itertools
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from rsidiff_kedro.core.image_set import to_rgb
from rsidiff_kedro.core.untrusted.images import ImageReadError, read_header, read_image
from rsidiff_kedro.core.untrusted.lost_pages import LONGEST, PAGE

LONG = "a prompt " * 300_000


def saved(path, image, **options):
    image.save(path, **options)
    return path


def corner(path):
    """Return the pixel at the top left and at the center."""
    image = read_image(path)
    assert image.mode == "RGB" and not image.info
    return image.getpixel((0, 0)), image.getpixel((image.width // 2, image.height // 2))


def framed(mode, inside, outside, size=16):
    """Return an image with one value inside and another around it."""
    image = Image.new(mode, (size, size), outside)
    image.paste(inside, (size // 4, size // 4, 3 * size // 4, 3 * size // 4))
    return image


def palette(inside, outside):
    image = framed("P", 1, 0)
    image.putpalette([*outside, *inside])
    return image


WHITE = (255, 255, 255)


@pytest.mark.parametrize(
    ("image", "kind", "options", "center"),
    [
        (framed("RGBA", (250, 200, 10, 255), (0, 0, 0, 0)), "png", {}, (250, 200, 10)),
        (framed("RGBA", (250, 200, 10, 255), (0, 0, 0, 0)), "webp", {"lossless": True}, (250, 200, 10)),
        (framed("RGBA", (250, 200, 10, 255), (0, 0, 0, 0)), "tiff", {}, (250, 200, 10)),
        (framed("RGBA", (0, 0, 0, 128), (9, 9, 9, 0)), "png", {}, (127, 127, 127)),
        (framed("LA", (40, 255), (0, 0)), "png", {}, (40, 40, 40)),
        (framed("RGB", (250, 200, 10), (1, 2, 3)), "png", {"transparency": (1, 2, 3)}, (250, 200, 10)),
        (framed("L", 40, 0), "png", {"transparency": 0}, (40, 40, 40)),
        (framed("1", 0, 1), "png", {"transparency": 1}, (0, 0, 0)),
        (framed("I;16", 100 * 257, 300), "png", {"transparency": 300}, (100, 100, 100)),
        (palette((250, 200, 10), (0, 0, 0)), "png", {"transparency": 0}, (250, 200, 10)),
        (palette((250, 200, 10), (0, 0, 0)), "png", {"transparency": bytes([0, 255])}, (250, 200, 10)),
        (palette((250, 200, 10), (0, 0, 0)), "gif", {"transparency": 0}, (250, 200, 10)),
    ],
)
def test_transparent_pixels_are_white(tmp_path, image, kind, options, center):
    path = saved(tmp_path / f"a.{kind}", image, **options)
    assert corner(path) == (WHITE, center)
    assert read_header(path).transparent


def png(bits, color, clear, pixels):
    """Return a PNG of two rows of two pixels, of a kind that Pillow cannot write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 2, bits, color, 0, 0, 0)
    rows = zlib.compress(2 * (b"\0" + pixels))
    parts = [chunk(b"IHDR", header), chunk(b"tRNS", clear), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_transparent_color_of_16_bits_is_white(tmp_path):
    clear, other = struct.pack(">3H", 300, 40_000, 65_535), struct.pack(">3H", 51_400, 25_700, 0)
    (tmp_path / "a.png").write_bytes(png(16, 2, clear, clear + other))
    assert corner(tmp_path / "a.png") == (WHITE, (200, 100, 0))


@pytest.mark.parametrize(("bits", "clear", "pixels", "other"), [(2, 1, 0b01_10_0000, 170), (4, 7, 0x78, 136)])
def test_transparent_gray_of_few_bits_is_white(tmp_path, bits, clear, pixels, other):
    (tmp_path / "a.png").write_bytes(png(bits, 0, struct.pack(">H", clear), bytes([pixels])))
    assert corner(tmp_path / "a.png") == (WHITE, (other,) * 3)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "RGBA", "LA", "I;16"])
def test_opaque_pixels_are_what_pillow_makes_of_them(tmp_path, mode):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
    image = Image.fromarray(rng.integers(0, 2**16, (16, 16), np.uint16)) if mode == "I;16" else image.convert(mode)
    path = saved(tmp_path / ("a.tiff" if mode == "CMYK" else "a.png"), image)
    assert read_image(path).tobytes() == to_rgb(image).tobytes()


def text(kind, value):
    """Return the texts of a PNG."""
    info = PngImagePlugin.PngInfo()
    if kind == "iTXt":
        info.add_itxt("workflow", value, zip=True)
    else:
        info.add_text("workflow", value, zip=kind == "zTXt")
    return info


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("options", [{"pnginfo": text("zTXt", LONG)}, {"pnginfo": text("iTXt", LONG)}])
def test_a_text_longer_than_pillow_reads_harms_no_pixel(tmp_path, options, after):
    image = Image.effect_noise((24, 24), 90).convert("RGB")
    path = saved(tmp_path / "a.png", image, **options)
    if after:  # the text stands behind the pixels, where it is read when they are decoded
        content = path.read_bytes()
        start = content.index(b"zTXt" if b"zTXt" in content else b"iTXt") - 4
        end = start + 12 + struct.unpack_from(">I", content, start)[0]
        path.write_bytes(content[:start] + content[end:-12] + content[start:end] + content[-12:])
    assert read_image(path).tobytes() == image.tobytes()
    assert not read_header(path).transparent


def test_a_profile_longer_than_pillow_reads_harms_no_pixel(tmp_path):
    image = Image.effect_noise((24, 24), 90).convert("RGB")
    path = saved(tmp_path / "a.png", image, icc_profile=bytes(3_000_000))
    assert read_image(path).tobytes() == image.tobytes()


def test_texts_of_more_than_pillows_memory_harm_no_pixel(tmp_path, monkeypatch):
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 5000)
    info = PngImagePlugin.PngInfo()
    for number in range(9):
        info.add_text(f"key {number}", "a" * 999)
    image = Image.effect_noise((24, 24), 90).convert("RGB")
    path = saved(tmp_path / "a.png", image, pnginfo=info)
    assert read_image(path).tobytes() == image.tobytes()


def test_the_orientation_is_kept_where_texts_are_left_out(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.effect_noise((24, 12), 90).convert("RGB")
    path = saved(tmp_path / "a.png", image, exif=exif, pnginfo=text("zTXt", LONG))
    assert read_image(path).size == (12, 24)


def noise(side):
    return Image.fromarray(np.random.default_rng(0).integers(90, 170, (side, side, 3), np.uint8))


COMPRESSED = "JPEG", "MPO", "JPEG2000", "WEBP", "AVIF", "GIF", "PNG"
UNCOMPRESSED = "TIFF", "BMP", "PPM"


def without(content, start, end):
    """Return content in which some bytes are zeros, as a file system leaves those that it never wrote."""
    end = min(end, len(content))
    return content[:start] + bytes(end - start) + content[end:]


def profile_of(space):
    """Return a profile of RGB with other primaries, or of gray with a gamma of 1, as lcms makes them."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()


def wide(profile, name=b"o\0w\0n\0 "):
    """Return an sRGB profile with red and green primaries swapped, which may keep sRGB's name."""
    red, green = (profile.index(tag) for tag in (b"rXYZ", b"gXYZ"))
    places = [int.from_bytes(profile[at + 4 : at + 8]) for at in (red, green)]
    content = bytearray(profile.replace(b"s\0R\0G\0B", name))
    first, second = (profile[at : at + 20] for at in places)
    content[places[0] : places[0] + 20], content[places[1] : places[1] + 20] = second, first
    return bytes(content)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_colors_are_those_that_the_profile_means(tmp_path, kind):
    image = Image.new("RGB", (40, 40), (200, 40, 40))
    plain = corner(saved(tmp_path / "plain", image, format=kind))[0]
    same = corner(saved(tmp_path / "same", image, format=kind, icc_profile=profile_of("sRGB")))[0]
    other = corner(saved(tmp_path / "other", image, format=kind, icc_profile=wide(profile_of("sRGB"))))[0]
    broken = corner(saved(tmp_path / "broken", image, format=kind, icc_profile=b"no profile" * 60))[0]
    assert same == plain == broken
    assert other[0] < 80 < 160 < other[1]
    named = wide(profile_of("sRGB"), b"s\0R\0G\0B")  # as "Display P3 Gamut with sRGB Transfer" is
    assert corner(saved(tmp_path / "named", image, format=kind, icc_profile=named))[0] == other


def test_white_behind_transparency_stays_white_whatever_the_profile(tmp_path):
    image = framed("RGBA", (200, 40, 40, 255), (0, 0, 0, 0))
    at_corner, center = corner(saved(tmp_path / "a.png", image, icc_profile=wide(profile_of("sRGB"))))
    assert at_corner == (255, 255, 255) and center[1] > 160


PAGES = ("one page", "the second half", "the last page")
LOST = [
    *((kind, lost) for kind in (*COMPRESSED, *UNCOMPRESSED) for lost in PAGES),
    *((kind, lost) for kind in COMPRESSED for lost in ("a sector", "10,000 bytes", "the end")),  # else black pixels
]


@pytest.mark.parametrize(("kind", "lost"), LOST)
def test_an_image_of_which_a_part_was_never_written_is_refused(tmp_path, kind, lost):
    path = saved(tmp_path / "a", noise(310), format=kind)
    read_image(path)
    content = path.read_bytes()
    size, last = len(content), (len(content) - 1) // PAGE * PAGE
    start, end = {
        "one page": (PAGE, 2 * PAGE),
        "the second half": (size // 2 // PAGE * PAGE, size),
        "the last page": (last, size),
        "a sector": (PAGE + 512, PAGE + 2 * 512),
        "the end": (size // 2 + 1, size),
        "10,000 bytes": (5_000, 15_000),
    }[lost]
    path.write_bytes(without(content, start, end))
    with pytest.raises(ImageReadError, match="no image that can be read"):
        read_image(path)


@pytest.mark.parametrize("compression", ["tiff_deflate", "tiff_lzw", "jpeg"])
def test_a_compressed_tiff_of_which_a_page_was_never_written_is_refused(tmp_path, compression):
    path = saved(tmp_path / "a.tif", noise(400), compression=compression)
    path.write_bytes(without(path.read_bytes(), 2 * PAGE, 3 * PAGE))
    with pytest.raises(ImageReadError, match="no image that can be read"):
        read_image(path)


FLAT = [
    ("JPEG", {"optimize": True}),  # whose codes are made for it
    ("JPEG", {"progressive": True, "subsampling": 0}),
    ("PNG", {"compress_level": 0}),
    ("TIFF", {"compression": "tiff_deflate", "tiffinfo": {278: 4000}}),  # all rows as one
    *((kind, {}) for kind in UNCOMPRESSED),
]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("lost", [0.3, 0.55, 0.8])
def test_zeros_that_decode_to_an_area_of_one_color_are_no_reason_for_it(tmp_path, progressive, lost):
    """So that code is left at the end, or the area is too small for them, or lies where no zeros say so."""
    image = Image.new("RGB", (1500, 1500), "white")
    image.paste(noise(40).resize((1100, 1100), Image.Resampling.BICUBIC), (200, 200))
    path = saved(tmp_path / "a.jpg", image, quality=75, optimize=True, progressive=progressive)
    content = path.read_bytes()
    read_image(path)
    start = int(lost * len(content)) | 1
    path.write_bytes(without(content, start, start + len(content) // 6))
    with pytest.raises(ImageReadError, match=r"its bytes from \d+ to \d+ are lost"):
        read_image(path)


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("options", [{"quality": 100}, {"lossless": True}])
def test_webps_fastest_code_of_an_area_of_one_color_is_full_of_zeros_and_read_unless_a_part_is_lost(
    tmp_path, options, frames
):
    image = Image.new("RGB", (800, 800), "white")
    image.paste(noise(60).resize((600, 400), Image.Resampling.BICUBIC), (100, 120))
    more = {"save_all": True, "append_images": [image.rotate(90)]} if frames > 1 else {}
    path = saved(tmp_path / "a.webp", image, format="WEBP", method=0, **options, **more)
    content = path.read_bytes()
    assert bytes(600) in content
    assert read_image(path).getpixel((5, 5)) == (255, 255, 255)
    start = len(content) // frames * 2 // 5 | 1
    path.write_bytes(without(content, start, start + 4_000))
    with pytest.raises(ImageReadError, match="no image that can be read"):
        read_image(path)


@pytest.mark.parametrize(("kind", "options"), FLAT)
@pytest.mark.parametrize("width", [2000, 2048])
def test_zeros_that_are_pixels_are_read(tmp_path, kind, options, width):
    """Black without compression, and one color where codes are made for it."""
    image = Image.new("RGB", (width, 4000), "white" if kind == "JPEG" else "black")
    image.paste(noise(300), (800, 2600))
    path = saved(tmp_path / "a", image, format=kind, **options)
    assert bytes(1024) in path.read_bytes()
    assert read_image(path).getpixel((5, 5)) == image.getpixel((5, 5))


def test_black_pixels_of_16_bits_are_read(tmp_path):
    """A BMP says of its colors' bits that it is compressed."""
    path, width, height = tmp_path / "a.bmp", 512, 512
    pixels = np.zeros((height, width), "<u2")
    pixels[200:301, :256] = np.random.default_rng(0).integers(1, 2**16, (101, 256))  # a sector; the next one is black
    masks = struct.pack("<3I", 0xF800, 0x07E0, 0x001F)
    offset = 512  # so that rows of pixels begin with sectors
    header = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 16, 3, pixels.nbytes, 0, 0, 0, 0) + masks
    start = struct.pack("<2sIHHI", b"BM", offset + pixels.nbytes, 0, 0, offset) + header
    path.write_bytes(start + b"\1" * (offset - len(start)) + pixels.tobytes())
    assert read_image(path).getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_a_photograph_with_a_lost_part_is_refused(tmp_path, kind):
    """The decoder makes pixels of it, because what follows it is read on."""
    image = noise(64).resize((1024, 768), Image.Resampling.BICUBIC)
    image = Image.blend(image, noise(1024).crop((0, 0, 1024, 768)), 0.2)
    further = {"save_all": True, "append_images": [image]} if kind == "MPO" else {}
    path = saved(tmp_path / "a.jpg", image, format=kind, quality=95, **further)
    read_image(path)
    path.write_bytes(without(path.read_bytes(), 40_001, 70_001))
    with Image.open(path) as opened:
        opened.load()
    with pytest.raises(ImageReadError, match=r"its bytes from 40001 to 7000\d are lost"):
        read_image(path)


@pytest.mark.parametrize("lost", [10_000, 30_000])
def test_a_photograph_with_a_lost_part_and_a_sky_of_one_color_is_refused(tmp_path, lost):
    """Usual codes say by ones and zeros that an area has one color, so zeros alone are no sky."""
    image = noise(1024)
    image.paste((250, 250, 255), (0, 0, 1024, 600))
    path = saved(tmp_path / "a.jpg", image, quality=92)
    content = path.read_bytes()
    read_image(path)
    start = len(content) // 4096 // 2 * 4096 + 1234
    path.write_bytes(without(content, start, start + lost))
    with pytest.raises(ImageReadError, match=f"its bytes from {start} to .* are lost"):
        read_image(path)


def test_a_lost_part_is_found_in_each_scan_of_a_progressive_jpeg_with_an_area_of_one_color(tmp_path):
    """Other scans have zeros of their own, and most of the code is in others."""
    image = Image.new("RGB", (3000, 3600), "white")
    image.paste(noise(640).resize((3000, 1000), Image.Resampling.BICUBIC), (0, 0))
    path = saved(tmp_path / "a.jpg", image, quality=92, progressive=True, subsampling=0)
    content = path.read_bytes()
    read_image(path)
    first, second = (found.start() for found in itertools.islice(re.finditer(rb"\xff\xda", content), 2))
    for start in (first + (second - first) // 5, (len(content) + second) // 2):
        path.write_bytes(without(content, start | 1, start + 9_000))
        with pytest.raises(ImageReadError, match=r"its bytes from \d+ to \d+ are lost"):
            read_image(path)


def test_a_jpeg_of_saturated_details_and_an_area_of_one_color_is_read(tmp_path):
    """Encoded anew, it would be shorter."""
    image = Image.new("RGB", (3600, 2400), "white")
    details = np.random.default_rng(0).integers(0, 256, (900, 1500, 3), np.uint8)
    image.paste(Image.fromarray(details), (0, 0))
    path = saved(tmp_path / "a.jpg", image, quality=95, subsampling=2, progressive=True)
    assert bytes(LONGEST) in path.read_bytes()
    assert read_image(path).tobytes() == Image.open(path).tobytes()


def test_a_photograph_with_a_lost_part_and_less_of_one_color_than_the_part_would_be_is_refused(tmp_path):
    """Whatever its codes."""
    image = noise(1024)
    image.paste("white", (0, 0, 1024, 400))
    path = saved(tmp_path / "a.jpg", image, quality=92, progressive=True)
    content = path.read_bytes()
    read_image(path)
    path.write_bytes(without(content, 100_001, 130_001))
    with pytest.raises(ImageReadError, match="no image that can be read"):
        read_image(path)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_whose_tables_lost_a_part_is_refused(tmp_path, progressive):
    """Wherever the tables and the head of the scan lie beside the page that is lost."""
    plain = saved(tmp_path / "a.jpg", noise(310), progressive=progressive).read_bytes()
    tables, code = plain.index(b"\xff\xdb"), plain.index(b"\xff\xda") + 14
    for before_page in range(0, code - tables + 1, 3 if progressive else 7):
        note = b"x" * (4096 - tables - before_page)
        path = saved(tmp_path / "a.jpg", noise(310), progressive=progressive, comment=note)
        read_image(path)
        path.write_bytes(without(path.read_bytes(), 4096, 8192))
        with pytest.raises(ImageReadError):
            read_image(path)


@pytest.mark.parametrize("ends_with_sector", [True, False])
def test_zeros_after_a_jpeg_are_no_pixels(tmp_path, ends_with_sector):
    path = saved(tmp_path / "a.jpg", noise(310))
    size = len(path.read_bytes())
    filled = (-size - 4) % 512 if ends_with_sector else (-size - 4) % 512 + 7
    path = saved(tmp_path / "a.jpg", noise(310), comment=b"x" * filled)
    content = path.read_bytes()
    assert (len(content) % 512 == 0) == ends_with_sector
    path.write_bytes(content + bytes(4096) + b"a trailer")
    assert read_image(path).size == (310, 310)


@pytest.mark.parametrize("marker", [b"\xff\xda", b"\xff\xdb", b"\xff\xe0"])
def test_fill_bytes_before_a_marker_of_a_jpeg_are_read_over(tmp_path, marker):
    path = saved(tmp_path / "a.jpg", noise(310))
    path.write_bytes(path.read_bytes().replace(marker, b"\xff\xff\xff" + marker, 1))
    assert read_image(path).size == (310, 310)


def test_a_webp_whose_transparency_lost_a_part_is_refused(tmp_path):
    image = noise(512).convert("RGBA")
    alpha = np.random.default_rng(1).integers(0, 8, (512, 512)) * 16 + 100  # few values, so it is compressed
    image.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    path = saved(tmp_path / "a.webp", image, quality=80)
    read_image(path)
    content = path.read_bytes()
    start = content.index(b"ALPH") + 4096
    path.write_bytes(without(content, start, start + 20_000))
    with pytest.raises(ImageReadError, match="are lost"):
        read_image(path)


ROWS, COLUMNS = np.mgrid[:600, :600]
RADII = np.hypot(ROWS - 300, COLUMNS - 300)
FUR = np.where(abs(RADII - 190) < 20, np.random.default_rng(0).integers(0, 256, (600, 600)), 255 * (RADII < 190))
CLEAR_TOP = np.where(ROWS < 250, 0, np.random.default_rng(0).integers(100, 250, (600, 600)))


@pytest.mark.parametrize("size", [3_000, 12_000])
@pytest.mark.parametrize(("method", "frames"), [(0, 1), (0, 2), (4, 1)])
@pytest.mark.parametrize(("alpha", "start"), [(FUR, 0.3), (FUR, 0.6), (CLEAR_TOP, 0.4), (CLEAR_TOP, 0.7)])
def test_a_cut_out_is_read_unless_its_transparency_lost_a_part(tmp_path, alpha, method, start, size, frames):
    """Its flat areas are as large as the lost part would be, and full of zeros in the fastest code."""
    image = Image.new("RGBA", (600, 600), (200, 90, 30, 0))
    image.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    more = {"save_all": True, "append_images": [image.rotate(90)]} if frames > 1 else {}
    path = saved(tmp_path / "a.webp", image, quality=80, method=method, **more)
    assert read_image(path).getpixel((0, 0)) == (255, 255, 255)
    content = path.read_bytes()
    assert (bytes(600) in content) == (method == 0 and frames == 1)  # of several images the encoder knows better
    place = content.index(b"ALPH")
    place += int(start * int.from_bytes(content[place + 4 : place + 8], "little")) | 1  # in no page
    path.write_bytes(without(content, place, place + size))
    with pytest.raises(ImageReadError, match="no image that can be read"):
        read_image(path)


def test_a_webp_that_lost_the_head_of_its_transparency_is_refused(tmp_path):
    image = noise(128).convert("RGBA")
    image.putalpha(Image.new("L", (128, 128), 255))
    image.paste((0, 0, 0, 0), (30, 30, 60, 60))
    for note in range(2500, 2520, 2):
        path = saved(tmp_path / "a.webp", image, quality=80, icc_profile=b"I" * note)
        content = path.read_bytes()
        start = content.index(b"ALPH")
        read_image(path)
        path.write_bytes(without(content, start // 512 * 512, start // 512 * 512 + 512))
        with pytest.raises(ImageReadError):
            read_image(path)


def test_zeros_around_compressed_pixels_are_no_pixels(tmp_path):
    webp, jp2 = (saved(tmp_path / kind, noise(310), format=kind) for kind in ("WEBP", "JPEG2000"))
    webp.write_bytes(webp.read_bytes() + bytes(20_000))
    content = jp2.read_bytes()
    box = struct.pack(">I4s16s", 24 + 20_000, b"uuid", b"0123456789abcdef") + bytes(20_000)
    start = content.index(b"jp2c") - 4
    jp2.write_bytes(content[:start] + box + content[start:])
    assert {read_image(path).size for path in (webp, jp2)} == {(310, 310)}


@pytest.mark.parametrize("note", ["icc_profile", "xmp", "exif"])
@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_zeros_of_metadata_are_no_pixels(tmp_path, kind, note):
    exif = Image.Exif()
    exif[0x927C] = bytes(20_000)  # of a camera's maker
    value = exif.tobytes() if note == "exif" else b"a note " + bytes(20_000)
    path = saved(tmp_path / "a", noise(310), format=kind, **{note: value})
    assert bytes(10_000) in path.read_bytes()
    assert read_image(path).size == (310, 310)


def test_a_png_without_its_end_is_refused(tmp_path):
    path = saved(tmp_path / "a.png", noise(64))
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ImageReadError, match="are lost"):
        read_image(path)


def test_a_cut_png_with_a_long_text_is_refused_for_its_pixels(tmp_path):
    path = saved(tmp_path / "a.png", Image.effect_noise((64, 64), 90), pnginfo=text("zTXt", LONG))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ImageReadError, match=r"a\.png: no image that can be read \(image file is truncated"):
        read_image(path)


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_further_frames_are_told(tmp_path, kind):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    path = saved(tmp_path / f"a.{kind}", frames[0], save_all=True, append_images=frames[1:])
    assert read_header(path).animated
    assert read_image(path).getpixel((0, 0))[0] > 250
    assert not read_header(saved(tmp_path / f"b.{kind}", frames[0])).animated


@pytest.mark.parametrize("content", [b"", b"no image", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_what_is_no_image_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    for look in (read_image, read_header):
        with pytest.raises(ImageReadError, match=r"a\.png: no image that can be read"):
            look(tmp_path / "a.png")


def test_an_image_is_read_from_its_own_bytes_alone(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(buffer, "PNG")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    assert corner(tmp_path / "a.jpg") == ((255, 0, 0), (255, 0, 0))


def tiff(pixels, **tags):
    """Return a TIFF of two gray pixels; Pillow writes few of its kinds."""
    usual = {"ImageWidth": 2, "ImageLength": 1, "BitsPerSample": 16, "Compression": 1, "PhotometricInterpretation": 1}
    numbers = dict(zip([*usual, "MaxSampleValue", "SampleFormat"], (256, 257, 258, 259, 262, 281, 339)))
    values = {numbers[name]: value for name, value in (usual | tags).items()}
    values |= {277: 1, 278: 1, 279: len(pixels)}
    values[273] = 8 + 2 + 12 * (len(values) + 1) + 4
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in sorted(values.items()))
    return struct.pack("<2sHIH", b"II", 42, 8, len(values)) + entries + bytes(4) + pixels


GRAY = struct.pack("<2H", 0, 65535)


def test_gray_tiff_of_16_bits_keeps_its_white(tmp_path):
    (tmp_path / "a.tiff").write_bytes(tiff(GRAY))
    assert [read_image(tmp_path / "a.tiff").getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 0), WHITE]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (tiff(GRAY, PhotometricInterpretation=0), "PhotometricInterpretation 0"),
        (tiff(bytes(3), BitsPerSample=12), "BitsPerSample 12"),
        (tiff(struct.pack("<2H", 0, 4095), MaxSampleValue=4095), "MaxSampleValue 4095"),
        (tiff(bytes(2), BitsPerSample=8, SampleFormat=2), "have a sign"),
    ],
)
def test_a_tiff_whose_white_pillow_mistakes_is_refused(tmp_path, content, says):
    (tmp_path / "a.tiff").write_bytes(content)
    for read in (read_image, read_header):
        with pytest.raises(ImageReadError, match=says):
            read(tmp_path / "a.tiff")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("samples", [0, 2])
def test_a_tiff_is_refused_unless_it_says_that_its_last_channel_is_transparency(tmp_path, mode, samples):
    """2 is transparency that is not multiplied into the colors, as Pillow writes it."""
    image = Image.new(mode, (2, 1))
    image.putpixel((0, 0), (200,) * len(image.getbands()))
    image.save(tmp_path / "a.tiff")
    content, tag = (tmp_path / "a.tiff").read_bytes(), struct.pack("<HHI", 338, 3, 1)
    assert content.count(tag + struct.pack("<H", 2)) == 1
    (tmp_path / "a.tiff").write_bytes(content.replace(tag + struct.pack("<H", 2), tag + struct.pack("<H", samples)))
    for read in (read_image, read_header):
        if samples == 0:
            with pytest.raises(ImageReadError, match="whether its further channel is transparency"):
                read(tmp_path / "a.tiff")
        else:
            read(tmp_path / "a.tiff")
    if samples:
        assert read_image(tmp_path / "a.tiff").getpixel((1, 0)) == WHITE


def bmp(fourth, compression=0, masks=()):
    """Return a BMP of two pixels of 32 bits."""
    header = struct.pack("<IiiHHIIiiII", 40 + 68 * bool(masks), 2, 1, 1, 32, compression, 8, 0, 0, 0, 0)
    header += struct.pack("<4I", *masks) + bytes(52) if masks else b""
    pixels = bytes([10, 200, 250, fourth[0], 3, 2, 1, fourth[1]])
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + 8, 0, 0, 14 + len(header)) + header + pixels


@pytest.mark.parametrize("fourth", [(0, 0), (255, 255)])
def test_a_bmp_without_transparency_is_read_as_it_is(tmp_path, fourth):
    (tmp_path / "a.bmp").write_bytes(bmp(fourth))
    assert [read_image(tmp_path / "a.bmp").getpixel((x, 0)) for x in (0, 1)] == [(250, 200, 10), (1, 2, 3)]


def test_a_bmp_that_may_be_transparent_is_refused_unless_its_header_says_so(tmp_path):
    (tmp_path / "a.bmp").write_bytes(bmp((255, 0)))
    for read in (read_image, read_header):
        with pytest.raises(ImageReadError, match="whether the fourth byte of each pixel is transparency"):
            read(tmp_path / "a.bmp")
    (tmp_path / "a.bmp").write_bytes(bmp((255, 0), 3, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)))
    assert [read_image(tmp_path / "a.bmp").getpixel((x, 0)) for x in (0, 1)] == [(250, 200, 10), WHITE]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_an_image_of_which_nothing_can_be_seen_is_refused(tmp_path, mode):
    options = {"transparency": 0} if mode in ("P", "I;16") else {}
    path = saved(tmp_path / "a.png", Image.new(mode, (16, 16)), **options)
    with pytest.raises(ImageReadError, match="all its pixels are transparent"):
        read_image(path)


@pytest.mark.parametrize("kind", ["png", "tiff", "jp2"])
def test_values_of_12_bits_in_16_are_refused_unless_they_are_scaled(tmp_path, kind):
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    assert read_image(saved(tmp_path / f"a.{kind}", Image.fromarray(values * 16))).getextrema()[0][1] >= 254
    with pytest.raises(ImageReadError, match="its brightest value is 15 of 255, as where values of 12 bits"):
        read_image(saved(tmp_path / f"b.{kind}", Image.fromarray(values)))
