"""Read the numbers by which a CLIP checkpoint's images are normalized; refuse what else it asks for and is not done."""

import json
import math
from pathlib import Path
from typing import Any

from rsidiff_kedro.core.untrusted.loading import loading, reason
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.rewards.preprocessing import OPENAI, Normalization
from rsidiff_kedro.rewards.settings import VIT_L_14
from rsidiff_kedro.rewards.sources import (
    PREPROCESSOR_FILE,
    PROCESSOR_FILE,
    CheckpointError,
    check_pointer,
    fetch_if_any,
)

_KINDS = ("CLIPImageProcessor", "CLIPFeatureExtractor")
"""Beginnings of the names that transformers gave the only class that is followed."""
_BICUBIC = 3
"""Pillow's number."""
_LARGEST = 1e6
_SIDE = 224
"""What transformers takes where the file names no size."""


def read_normalization(source: str, revision: str | None, side: int) -> Normalization:
    """Return the mean and standard deviation that a checkpoint's image processor names; OpenAI's if it has none.

    Args:
        source: a local file, whose folder holds the processor's file, a folder, or a Hugging Face id.
        revision: of a Hugging Face id.
        side: of the images that the network reads, in pixels.

    Raises:
        CheckpointError: the file cannot be read or found, or asks for other steps than a resize of the shortest side
            to `side` (bicubic), a centre crop, a scale of 0 to 1, and normalization.
    """
    if source == VIT_L_14:
        return OPENAI  # its own; a cache without that file is enough
    path, given = _image_processor(source, revision)
    if path is None:
        return OPENAI
    expected = {
        **dict.fromkeys(("do_resize", "do_center_crop", "do_rescale", "do_normalize"), (True, True)),
        "resample": (_BICUBIC, _BICUBIC),
        "size": (_SIDE, side),
        "crop_size": (_SIDE, side),
        "rescale_factor": (1 / 255, 1 / 255),
    }
    for name in ("image_processor_type", "feature_extractor_type"):
        if not str(given.get(name, _KINDS[0])).startswith(_KINDS):
            raise _refusal(path, name, given[name], side)
    for name, (default, followed) in expected.items():
        value = given.get(name, default)
        if not _is(_as_number(name, value), followed):
            raise _refusal(path, name, value, side)
    mean, deviation = given.get("image_mean", OPENAI.mean), given.get("image_std", OPENAI.deviation)
    if not _are_three(mean):
        raise _refusal(path, "image_mean", mean, side)
    if not _are_three(deviation) or min(deviation) <= 0:
        raise _refusal(path, "image_std", deviation, side)
    return Normalization(tuple(map(float, mean)), tuple(map(float, deviation)))


def _image_processor(source: str, revision: str | None) -> tuple[Path | None, dict[str, Any]]:
    """Return the processor's file and what it sets; no file if there is none."""
    for name in (PREPROCESSOR_FILE, PROCESSOR_FILE):
        path = fetch_if_any(source, name, revision)
        if path is None:
            continue
        content = _read(path)
        given = content if name == PREPROCESSOR_FILE else content.get("image_processor")
        if isinstance(given, dict):
            return path, {key: value for key, value in given.items() if value is not None}
    return None, {}


def _read(path: Path) -> dict[str, Any]:
    def refuse(error: Exception) -> CheckpointError:
        return CheckpointError(
            f"{str(path)!r} is no image processor's JSON ({reason(error, 120)}); download or save it again"
        )

    check_pointer(path)
    with loading(refuse):
        content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{str(path)!r} must hold a JSON object, not {type(content).__name__}; download or save it again"
        )
    return content


def _as_number(name: str, value: Any) -> Any:
    """Return the pixels of a shortest side or of a square crop where a mapping says them; other values as they are."""
    sides = ["shortest_edge"] if name == "size" else ["height", "width"]
    if isinstance(value, dict) and sorted(value) == sides and len({*map(str, value.values())}) == 1:
        return value[sides[0]]
    return value


def _is(value: Any, followed: float) -> bool:
    """Tell whether a value is what is done; a number may be rounded."""
    return _is_number(value) and math.isclose(value, followed, rel_tol=1e-6)


def _are_three(values: Any) -> bool:
    return isinstance(values, list | tuple) and len(values) == 3 and all(map(_is_number, values))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) <= _LARGEST


def _refusal(path: Path, name: str, value: Any, side: int) -> CheckpointError:
    return CheckpointError(
        f"{str(path)!r} says {name} = {printable(str(value))[:60]}, which is not followed: images are resized to a "
        f"shortest side of {side} (bicubic), cropped to the centre, scaled to 0 to 1, and normalized per channel by "
        "image_mean and image_std; use another checkpoint, or write a reward of your own"
    )
