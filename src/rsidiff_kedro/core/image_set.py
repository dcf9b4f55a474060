"""Image sets: images with one row of metadata each, and the latents that they were decoded from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from rsidiff_kedro.core.errors import InputError

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
"""Columns that the metadata of every image set has."""
PAIR = ["prompt_id", "sample_index"]
"""Two images of different rounds are a pair if they have the same prompt and the same sample index, so one seed."""
IMAGE_ERRORS = (OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError)
"""What Pillow raises for files that are broken, or have more pixels than it opens."""


class ImageFileError(InputError):
    """A file of an image set is no image; the message says which."""


class ImageFiles(Sequence[Image.Image]):
    """Images on disk, opened one at a time when they are asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index):  # type: ignore[no-untyped-def,override]
        if isinstance(index, slice):
            return ImageFiles(self.paths[index])
        path = self.paths[index]
        try:
            # No other format: some of Pillow's start programs, whatever the file is called.
            with Image.open(path, formats=["PNG"]) as image:
                return image.convert("RGB")
        except IMAGE_ERRORS as error:
            raise ImageFileError(f"{path}: no PNG that can be read ({error}); make the image set anew") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: an alpha channel is dropped, 16 bits become 8."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


@dataclass(frozen=True)
class ImageSet:
    """Images, their metadata (one row per image, in the same order) and the latents that they were decoded from.

    Attributes:
        metadata: the columns of `IMAGE_COLUMNS` and any others.
        images: RGB images; lazy (`ImageFiles`) where they come from disk.
        latents: float32 [n, channels, height, width] in the scale that the denoiser sees, or None.
    """

    metadata: pd.DataFrame
    images: Sequence[Image.Image]
    latents: torch.Tensor | None = None

    def __post_init__(self) -> None:
        missing = set(IMAGE_COLUMNS) - set(self.metadata.columns)
        if missing:
            raise ValueError(f"the metadata of an image set lacks the columns {sorted(missing)}")
        counts = {len(self.metadata), len(self.images)} | (set() if self.latents is None else {len(self.latents)})
        if len(counts) != 1:
            raise ValueError(f"metadata, images and latents differ in number: {sorted(counts)}")

    def __len__(self) -> int:
        return len(self.metadata)

    def select(self, rows: Sequence[int] | np.ndarray) -> "ImageSet":
        """Return the images at these positions, in this order."""
        rows = [int(row) for row in rows]
        images = (
            ImageFiles([self.images.paths[row] for row in rows])
            if isinstance(self.images, ImageFiles)
            else [self.images[row] for row in rows]
        )
        latents = None if self.latents is None else self.latents[rows]
        return ImageSet(self.metadata.iloc[rows].reset_index(drop=True), images, latents)


def concatenate(sets: Iterable[ImageSet]) -> ImageSet:
    """Return one image set after the other; images that lie on disk stay there.

    Raises:
        ValueError: some of the sets have latents and others have none.
    """
    parts = list(sets)
    if len({part.latents is None for part in parts}) > 1:
        raise ValueError("image sets with and without latents cannot be joined")
    images: Sequence[Image.Image]
    if all(isinstance(part.images, ImageFiles) for part in parts):
        images = ImageFiles([path for part in parts for path in part.images.paths])  # type: ignore[attr-defined]
    else:
        images = [image for part in parts for image in part.images]
    latents = None if parts[0].latents is None else torch.cat([part.latents for part in parts])  # type: ignore[misc]
    return ImageSet(pd.concat([part.metadata for part in parts], ignore_index=True), images, latents)
