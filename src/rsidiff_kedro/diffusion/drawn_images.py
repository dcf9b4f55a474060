"""Keeps the micro-batches that are drawn: in memory, or in a folder from which a killed run goes on."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rsidiff_kedro.diffusion.image_set import IMAGE_ERRORS, ImageFiles


class DrawnImages:
    """Images in the order in which they are drawn.

    In a folder, a micro-batch is its PNG files and then the file of its latents, whose name appears last: with it
    the micro-batch is complete.

    Args:
        folder: of unfinished work; None keeps everything in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._images: list[Image.Image] = []
        self._paths: list[Path] = []
        if folder is not None:
            (folder / "images").mkdir(exist_ok=True)

    @property
    def images(self) -> Sequence[Image.Image]:
        """All that was found or added so far; lazy where they lie in a folder."""
        return self._images if self._folder is None else ImageFiles(self._paths)

    def find(self, rows: pd.DataFrame) -> Tensor | None:
        """The latents of a micro-batch that was drawn before, given its metadata; None if it must be drawn."""
        if self._folder is None:
            return None
        try:
            latents: Tensor = load_file(self._latents_path(rows))["latents"]
            if len(latents) != len(rows):
                return None
            for path in self._image_paths(rows):
                with Image.open(path, formats=["PNG"]) as image:
                    image.load()
        except (KeyError, SafetensorError, *IMAGE_ERRORS):  # not there yet; or damaged, as by a power cut
            return None
        self._paths += self._image_paths(rows)
        return latents

    def add(self, rows: pd.DataFrame, latents: Tensor, images: Sequence[Image.Image]) -> None:
        """Keep a micro-batch: its metadata, float32 latents on the CPU, and images."""
        if self._folder is None:
            self._images += images
            return
        paths = self._image_paths(rows)
        for path, image in zip(paths, images, strict=True):
            image.save(path)
        final = self._latents_path(rows)
        partial = final.with_suffix(".partial")
        save_file({"latents": latents.contiguous()}, partial)
        os.replace(partial, final)
        self._paths += paths

    def _image_paths(self, rows: pd.DataFrame) -> list[Path]:
        assert self._folder is not None
        return [self._folder / name for name in rows["file_name"]]

    def _latents_path(self, rows: pd.DataFrame) -> Path:
        assert self._folder is not None
        return self._folder / f"{rows['image_id'].iloc[0]}.safetensors"
