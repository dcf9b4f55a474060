"""Open images of unknown origin: only their upright pixels are kept, on white."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from PIL import Image, ImageCms
from PIL.BmpImagePlugin import BmpImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.image_set import IMAGE_ERRORS, to_rgb
from rsidiff_kedro.core.untrusted.color_spaces import ADOBE_RGB, UnreadSpaceError, in_srgb, stated_space
from rsidiff_kedro.core.untrusted.exif import is_adobe_rgb, turned_upright
from rsidiff_kedro.core.untrusted.lost_pages import (
    COMPRESSED,
    UNCOMPRESSED,
    blank,
    coded_part,
    find_broken_chunk,
    find_lost_code,
    find_lost_name,
    find_lost_pages,
    find_lost_scan,
    find_zeros,
)
from rsidiff_kedro.core.untrusted.pointers import POINTER, is_pointer

FORMATS = frozenset({"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"})
"""Formats by content; Pillow would hand others, such as PostScript, to programs of the machine."""

_PNG = b"\x89PNG\r\n\x1a\n"
_TEXT = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_ORIENTATION = (b"XML:com.adobe.xmp", b"Raw profile type")
"""Texts of a PNG that may say which side is up."""

T = TypeVar("T")


class ImageReadError(InputError):
    """An image that cannot be read; the message names the file and says why."""


@dataclass(frozen=True)
class ImageHeader:
    """Properties of an image that its file states before decoding.

    Attributes:
        transparent: whether it has an alpha channel or a transparent color.
        animated: whether it holds further images, which are not read.
        square: whether its width is its height.
    """

    transparent: bool
    animated: bool
    square: bool


def read_image(path: Path) -> Image.Image:
    """Return the image upright in RGB, on white where it is transparent, without what else its file says.

    Raises:
        ImageReadError: the file has none of `FORMATS`, more pixels than Pillow opens, values that do not say what is
            white or transparent, colors of HDR, no pixel that can be seen, or pages that were never written.
    """
    image, kind, notes = _use(path, lambda opened: (_see(opened, path), _kind(opened), [*opened.info.values()]))
    lost = _lost(blank(path.read_bytes(), notes), kind, image)
    if lost is not None:
        raise ImageReadError(
            f"{path}: no image that can be read (its bytes from {lost[0]} to {lost[1]} are lost, as where a download "
            "was not finished); get it again or remove it"
        )
    image.info.clear()
    return image


def _kind(opened: Image.Image) -> str:
    """Return an image's format, or a TIFF's compression."""
    return str(opened.info.get("compression") if opened.format == "TIFF" else opened.format)


def _lost(content: bytes, kind: str, image: Image.Image) -> tuple[int, int] | None:
    """Return which bytes of an image's file were never written; see `_kind`."""
    match kind:
        case "PNG":
            return find_broken_chunk(content)
        case "raw" | "BMP" | "PPM":
            return find_lost_pages(content, UNCOMPRESSED)
        case "JPEG" | "MPO":
            return find_lost_scan(content, np.asarray(image))
        case "WEBP":
            lost = find_lost_name(content) or find_lost_code(content)
            return lost or find_lost_pages(coded_part(content, kind), COMPRESSED)
        case "AVIF" | "JPEG2000" | "GIF":
            coded = coded_part(content, kind)
            return find_zeros(coded) or find_lost_pages(coded, COMPRESSED)
        case _:
            return find_lost_pages(content, COMPRESSED)


def _see(opened: Image.Image, path: Path) -> Image.Image:
    has_16_bits = opened.mode.startswith("I;16") or ";16" in str(getattr(opened, "tile", ""))
    image = turned_upright(opened)
    brightest = int(np.asarray(on_white(image)).max()) if has_16_bits else 255
    if brightest < 16:
        raise ValueError(
            f"its brightest value is {brightest} of 255, as where values of 12 bits are saved in 16 without scaling"
        )
    profile, space = opened.info.get("icc_profile"), stated_space(path, opened)
    if space is None and not profile and is_adobe_rgb(opened):
        space = ADOBE_RGB
    return _by_profile(image, profile) if space is None else in_srgb(on_white(image), space)


_ROUNDING = 2
"""Of 255; by so much a conversion from sRGB to sRGB changes values."""


def _by_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an image on white, with the colors of its profile converted to sRGB; a broken profile is ignored."""
    plain = on_white(image)
    if not isinstance(profile, bytes):  # such as text in its place
        return plain
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = given.profile.xcolor_space.strip()
        if space == "CMYK" and image.mode == "CMYK":
            source = image
        elif space == "GRAY" and image.getbands()[0] in ("1", "L", "I"):
            source = plain.convert("L")
        elif space == "RGB":
            source = plain
        else:
            return plain
        converted = ImageCms.profileToProfile(source, given, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return plain
    if converted is None or abs(np.asarray(converted, np.int16) - np.asarray(plain, np.int16)).max() <= _ROUNDING:
        return plain
    return converted


def read_header(path: Path) -> ImageHeader:
    """Look at an image without decoding it.

    Raises:
        ImageReadError: as `read_image`, but for images that are cut or cannot be seen.
    """

    def header(opened: Image.Image) -> ImageHeader:
        animated = bool(getattr(opened, "is_animated", False))
        return ImageHeader(opened.has_transparency_data, animated, opened.width == opened.height)

    return _use(path, header)


def image_suffixes() -> frozenset[str]:
    """Return the suffixes that files of `FORMATS` have."""
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS)


def on_white(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB, with white behind transparent pixels; opaque images stay as `to_rgb` makes them.

    Raises:
        ValueError: all pixels are transparent.
    """
    if not image.has_transparency_data:
        return to_rgb(image)
    clear = image.info.get("transparency")
    if image.mode.startswith("I;16"):
        pixels = np.array(image)
        _check_visible(bool((pixels != clear).any()))
        return Image.fromarray(np.where(pixels == clear, 255, pixels // 257).astype(np.uint8)).convert("RGB")
    if isinstance(clear, tuple) and max(clear) > 255:  # of 16 bits, which Pillow reduces to 8 in pixels alone
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    layer = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    _check_visible(layer.getchannel("A").getbbox() is not None)
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), layer).convert("RGB")


def _check_visible(visible: bool) -> None:
    if not visible:
        raise ValueError("all its pixels are transparent, so it shows nothing")


@cache
def _formats() -> tuple[str, ...]:
    """Return those of `FORMATS` that this Pillow knows."""
    return tuple(sorted(FORMATS & set(Image.registered_extensions().values())))


def _use(path: Path, use: Callable[[Image.Image], T]) -> T:
    """Apply a function to an open image; Pillow's errors about broken ones become ImageReadError."""
    if is_pointer(path):
        raise ImageReadError(f"{path}: no image, but {POINTER}")
    try:
        try:
            return _open(path, path, use)
        except ImageReadError:
            raise
        except ValueError:  # a text or profile of a PNG is longer than Pillow reads; the pixels may be sound
            return _open(_without_text(path), path, use)
    except ImageReadError:
        raise
    except IMAGE_ERRORS as error:
        raise ImageReadError(f"{path}: no image that can be read ({error}); repair, shrink or remove it") from error


def _open(source: Path | IO[bytes], path: Path, use: Callable[[Image.Image], T]) -> T:
    with Image.open(source, formats=_formats()) as image:
        unknown = _unknown(image, path)
        if unknown is not None:
            raise ImageReadError(f"{path}: no image that can be read ({unknown}); save it as PNG with 8 or 16 bits")
        try:
            stated_space(path, image)
        except UnreadSpaceError as error:
            raise ImageReadError(f"{path}: no image that can be read ({error}); convert it to sRGB") from error
        scale = _SCALES.get(str(image.tile[0].args)) if isinstance(image, PngImageFile) and image.tile else None
        if scale is not None and isinstance(image.info.get("transparency"), int):
            image.info["transparency"] *= scale
        return use(image)


_SCALES = {"L;2": 85, "L;4": 17}
"""By how much Pillow multiplies gray of 2 and 4 bits in a PNG, but not the gray that is transparent."""


def _unknown(image: Image.Image, path: Path) -> str | None:
    """Say what the file leaves open about its pixels, so that Pillow's reading may be wrong; else None."""
    if image.mode in ("I", "F"):
        return f"32 bits per pixel, mode {image.mode}, do not say what is white"
    if isinstance(image, TiffImageFile) and len(image.getbands()) == 1:
        if _first(image.tag_v2.get(_SAMPLE_FORMAT, 1)) != 1:
            return "its values have a sign, and do not say what is white"
        values = {name: _first(image.tag_v2.get(tag, usual)) for name, (tag, usual) in _GRAY_16.items()}
        odd = [f"{name} {value}" for name, value in values.items() if value != _GRAY_16[name][1]]
        if image.mode.startswith("I;16") and odd:
            return f"gray of {' and '.join(odd)}, where Pillow mistakes what is white"
    if isinstance(image, TiffImageFile) and 0 in image.tag_v2.get(_EXTRA_SAMPLES, ()):
        return "it does not say whether its further channel is transparency (ExtraSamples 0)"
    if isinstance(image, BmpImageFile) and _has_fourth_values(image, path):
        return "its header does not say whether the fourth byte of each pixel is transparency"
    return None


_SAMPLE_FORMAT, _EXTRA_SAMPLES = 339, 338
_GRAY_16 = {"BitsPerSample": (258, 16), "PhotometricInterpretation": (262, 1), "MaxSampleValue": (281, 65535)}
"""Tags of TIFF, and the values with which Pillow reads gray of more than 8 bits right."""


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and value else value


def _has_fourth_values(image: BmpImageFile, path: Path) -> bool:
    """Tell whether the bytes of a BMP that Pillow passes over differ from pixel to pixel, as transparency does."""
    raw = image.tile[0]
    order = raw.args[0] if isinstance(raw.args, tuple) else ""
    if raw.codec_name != "raw" or len(order) != 4 or "X" not in order:
        return False
    with path.open("rb") as file:
        file.seek(raw.offset)
        pixels = np.frombuffer(file.read(4 * image.width * image.height), np.uint8)
    fourth = pixels[order.index("X") :: 4]
    return fourth.size > 0 and bool(np.ptp(fourth))


def _without_text(path: Path) -> IO[bytes]:
    """Return a file's content; of a PNG, without texts and profiles, which are not used."""
    content = path.read_bytes()
    if not content.startswith(_PNG):
        return io.BytesIO(content)
    kept, start = [_PNG], len(_PNG)
    while start + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        end = start + 12 + length
        if kind not in _TEXT or content.startswith(_ORIENTATION, start + 8):
            kept.append(content[start:end])
        start = end
    return io.BytesIO(b"".join(kept))
