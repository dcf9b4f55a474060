"""Define image sets: images, one row of metadata per image, and the latents that they were decoded from."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.tensor_rows import Rows, TensorRows, select_rows
from rsidiff_kedro.core.untrusted.pointers import POINTER, is_pointer

IMAGE_COLUMNS = (
    "file_name",
    "image_id",
    "prompt_id",
    "text",
    "sample_index",
    "seed",
    "guidance_scale",
    "num_inference_steps",
    "checkpoint",
)
"""Columns of every image set's metadata."""
PAIR = ["prompt_id", "sample_index"]
"""Images of two rounds are a pair if they have the same prompt and sample index, and so the same seed."""
PNG: dict[str, Any] = {"format": "PNG", "compress_level": 1}
"""Pillow's options to write images: zlib's level 1 takes half the time of its usual 6; files are an eighth larger."""
IMAGE_ERRORS = (OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError)
"""Errors that Pillow raises for files that are broken or have more pixels than it opens."""


class ImageFileError(InputError):
    """A file of an image set that is not a readable PNG."""


class ImageFiles(Sequence[Image.Image]):
    """Images on disk, each opened when it is asked for."""

    def __init__(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        self._names = [os.fspath(path) for path in paths]  # a Path takes ten times the memory

    @property
    def paths(self) -> list[Path]:
        """Return the paths of all images."""
        return list(map(Path, self._names))

    def path(self, index: int) -> Path:
        """Return the path of one image."""
        return Path(self._names[index])

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index):  # type: ignore[no-untyped-def,override]
        if isinstance(index, slice):
            return ImageFiles(self._names[index])
        path = self.path(index)
        try:
            # PNG only: for some formats Pillow starts programs, whatever the file's name.
            with Image.open(path, formats=["PNG"]) as image:
                return image.convert("RGB")
        except IMAGE_ERRORS as error:
            if is_pointer(path):
                raise ImageFileError(f"{path}: no image, but {POINTER}") from None
            raise ImageFileError(f"{path}: not a readable PNG ({error}); make the image set anew") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: drop an alpha channel, reduce 16 bits to 8."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


@dataclass(frozen=True)
class ImageSet:
    """Images, their metadata (one row per image, in the same order) and the latents that they were decoded from.

    Attributes:
        metadata: the columns of `IMAGE_COLUMNS` and any others.
        images: RGB images; lazy (`ImageFiles`) where they come from disk.
        latents: [n, channels, height, width], of the pipeline's dtype, in the scale that the denoiser sees, or None;
            `latents[:]` is a tensor.
    """

    metadata: pd.DataFrame
    images: Sequence[Image.Image]
    latents: Rows | None = None

    def __post_init__(self) -> None:
        missing = set(IMAGE_COLUMNS) - set(self.metadata.columns)
        if missing:
            raise ValueError(f"the metadata of an image set lacks the columns {sorted(missing)}")
        counts = {len(part) for part in (self.metadata, self.images, self.latents) if part is not None}
        if len(counts) != 1:
            raise ValueError(f"metadata, images and latents differ in number: {sorted(counts)}")

    def __len__(self) -> int:
        return len(self.metadata)

    def select(self, rows: Sequence[int] | np.ndarray) -> "ImageSet":
        """Return the images at these positions, in this order."""
        rows = [int(row) for row in rows]
        if isinstance(self.images, ImageFiles):
            images: Sequence[Image.Image] = ImageFiles(self.images.path(row) for row in rows)
        else:
            images = [self.images[row] for row in rows]
        latents = None if self.latents is None else select_rows(self.latents, rows)
        return ImageSet(self.metadata.iloc[rows].reset_index(drop=True), images, latents)

    def rows_of(self, image_ids: pd.Series) -> np.ndarray:
        """Return the positions of the images with these ids, in the order of the set.

        Raises:
            InputError: an id is none of the set's.
        """
        other = image_ids[~image_ids.isin(self.metadata["image_id"])]
        if len(other):
            raise InputError(
                f"{len(other)} of {len(image_ids)} rows are of no image of the set, {other.iloc[0]!r} first, so they "
                "are of other images; make them again of these, with all that follows"
            )
        found: np.ndarray = self.metadata["image_id"].isin(image_ids).to_numpy().nonzero()[0]
        return found

    def without_latents(self) -> "ImageSet":
        """Return the same images for a purpose that trains on none of them."""
        return replace(self, latents=None)


def concatenate(sets: Iterable[ImageSet]) -> ImageSet:
    """Return one image set after the other; images on disk stay there. All or none of the sets have latents."""
    parts = list(sets)
    latents = [part.latents for part in parts if part.latents is not None]
    if len(latents) not in (0, len(parts)):
        raise ValueError("image sets with and without latents cannot be joined")
    files = [part.images for part in parts if isinstance(part.images, ImageFiles)]
    images: Sequence[Image.Image] = ImageFiles(each.path(row) for each in files for row in range(len(each)))
    if len(files) < len(parts):
        images = [image for part in parts for image in part.images]
    metadata = pd.concat([part.metadata for part in parts], ignore_index=True)
    return ImageSet(metadata, images, TensorRows.join(latents) if latents else None)
