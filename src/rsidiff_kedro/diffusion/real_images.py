"""Real images with captions, as the training set of supervised fine-tuning."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image, ImageOps
from pydantic import Field, field_validator

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.image_set import IMAGE_ERRORS, to_rgb
from rsidiff_kedro.core.prompt_table import prompt_id, writable
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.core.untrusted.tables import read_parquet
from rsidiff_kedro.diffusion.model import DiffusionModel
from rsidiff_kedro.execution.local import Shard, run_shards, split
from rsidiff_kedro.execution.partial_results import PartialResults


class SftSettings(Section):
    """Supervised fine-tuning on real pairs.

    Attributes:
        images: a folder in imagefolder layout.
        text_column: of its table: the captions.
        steps: optimizer steps; all other settings are those of `finetune`.
    """

    images: Path
    text_column: str = Field(default="text", min_length=1)
    steps: int = Field(default=600, ge=1)

    @field_validator("images")
    @classmethod
    def _expand(cls, images: Path) -> Path:
        try:
            return images.expanduser()
        except RuntimeError:
            raise ValueError(
                f"{str(images)!r} is in the home of no user of this machine; give the whole path"
            ) from None


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "metadata.csv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False),
    "metadata.jsonl": lambda path: pd.read_json(path, lines=True, dtype=False),
    "metadata.parquet": read_parquet,
}
"""What the imagefolder layout of Hugging Face calls its table; texts that look like something else stay texts."""
FORMATS = frozenset({"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"})
"""Of images, by their content; Pillow would hand others, such as PostScript, to programs of the machine."""

CURE = "correct or remove these rows; images lie in the folder itself or below it"


class RealImageError(InputError):
    """A folder of real images cannot be used; the message says why."""


def read_pairs(folder: Path, text_column: str) -> pd.DataFrame:
    """The table of an imagefolder: file_name and text, a row an image.

    Raises:
        RealImageError: the folder, its table, a column, a caption or an image is missing, or a caption is no text.
    """
    found = [name for name in READERS if os.path.isfile(folder / name)]
    if not found:
        raise RealImageError(
            f"sft.images: {folder} holds none of {', '.join(READERS)}; give a folder in the imagefolder layout of "
            "Hugging Face: images, and a table with their file_name and caption"
        )
    path = folder / found[0]
    try:
        table = READERS[found[0]](path)
    except (ValueError, OSError, TypeError, AttributeError, LookupError) as error:  # pandas' of JSON that is no row
        raise RealImageError(f"{path}: cannot be read ({' '.join(str(error).split())}); save the table again") from None
    twice = sorted({str(name) for name in table.columns[table.columns.duplicated()]})
    if twice:
        raise RealImageError(f"{path}: more than one column is named {twice[0]!r}; rename all but one")
    lacking = sorted({"file_name", text_column} - set(table.columns))
    if lacking or table.empty:
        what = f"lacks the columns {lacking}; it has {sorted(map(str, table.columns))}" if lacking else "has no rows"
        raise RealImageError(f"{path}: {what}; give a row an image, and name the caption's column in sft.text_column")
    names, captions = pd.Series([str(name) for name in table["file_name"]], table.index), table[text_column]
    inside = folder.resolve()
    problems = {
        "are missing": names[[not _is_file_inside(inside, name) for name in names]],
        "have no caption": names[[_is_blank(caption) for caption in captions]],
        "have a caption that is no text": names[[not isinstance(caption, str) for caption in captions]],
    }
    for problem, wrong in problems.items():
        if len(wrong):
            raise RealImageError(f"{path}: {len(wrong)} images {problem}, {wrong.iloc[0][:100]!r} first; {CURE}")
    return pd.DataFrame({"file_name": names, "text": captions.map(writable)}).reset_index(drop=True)


def check_pairs(folder: Path, text_column: str) -> None:
    """Find out whether `read_pairs` and `encode_pairs` can work with a folder; no image is decoded.

    Raises:
        RealImageError: what they would raise, but for images that are cut.
    """
    for name in read_pairs(folder, text_column)["file_name"]:
        with _opened(folder / name):
            pass


def _is_file_inside(folder: Path, name: str) -> bool:
    try:
        path = (folder / name).resolve()
    except (OSError, ValueError):  # no name that a file can have
        return False
    return path.is_relative_to(folder) and os.path.isfile(path)


def _is_blank(caption: Any) -> bool:
    if isinstance(caption, str):
        return not caption.strip()
    return bool(pd.api.types.is_scalar(caption) and pd.isna(caption))


def encode_pairs(
    model: DiffusionModel,
    folder: Path,
    pairs: pd.DataFrame,
    micro_batch_size: int,
    unfinished: Path | None = None,
) -> TrainingSet:
    """Encode the pairs' images, cut to the model's square, as a training set with weights of one.

    Args:
        pairs: from `read_pairs`.
        micro_batch_size: images encoded at once.
        unfinished: as in `sample_images`.

    Raises:
        RealImageError: a file has none of `FORMATS`, more pixels than Pillow opens, or 32 bits per pixel.
    """
    metadata, kept = _metadata(pairs), PartialResults(unfinished)

    def encode(shard: Shard) -> torch.Tensor:
        count = shard.stop - shard.start
        found = kept.load(shard.key, count)
        if found is None:
            names = pairs["file_name"].iloc[shard.start : shard.stop]
            batch = [_open(folder / name, model.image_size) for name in names]
            padded = batch + batch[-1:] * (micro_batch_size - count)
            found = model.encode_images(padded)[:count].float().cpu()
            kept.save(shard.key, found)
        return found

    shards = list(split(metadata["image_id"].tolist(), micro_batch_size))
    return TrainingSet(metadata, torch.cat(run_shards(shards, encode, "encoding real images")))


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow knows."""
    return tuple(sorted(FORMATS & set(Image.registered_extensions().values())))


def _open(path: Path, side: int) -> Image.Image:
    """The middle square of an image at this size, without what else its file says, such as where it was taken."""
    with _opened(path) as image:
        square = ImageOps.fit(to_rgb(ImageOps.exif_transpose(image)), (side, side), Image.Resampling.BICUBIC)
        square.info.clear()
        return square


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An open image; what Pillow says of a broken one, here or when it is decoded, becomes a RealImageError."""
    try:
        with Image.open(path, formats=_formats()) as image:
            if image.mode in ("I", "F"):
                raise RealImageError(
                    f"{path}: an image of 32 bits a pixel (mode {image.mode}), which do not say what is white; save "
                    "it with 8 or 16"
                )
            yield image
    except RealImageError:
        raise
    except IMAGE_ERRORS as error:
        raise RealImageError(f"{path}: no image that can be read ({error}); repair, shrink or remove it") from error


def _metadata(pairs: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": [f"real_{number:06d}" for number in range(len(pairs))],
            "prompt_id": pairs["text"].map(prompt_id),
            "text": pairs["text"],
            "round": 0,
            "weight": 1.0,
        }
    )
