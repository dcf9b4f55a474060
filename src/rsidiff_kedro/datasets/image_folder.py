"""Image sets and training sets on disk.

An image set has the imagefolder layout, which `datasets.load_dataset` and diffusers' scripts read.
"""

import base64
import io
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from kedro_datasets._typing import ImagePreview, TablePreview
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rsidiff_kedro.core.files import link_or_copy
from rsidiff_kedro.core.image_set import IMAGE_COLUMNS, ImageFiles, ImageSet
from rsidiff_kedro.core.training_set import TRAINING_COLUMNS, TrainingSet
from rsidiff_kedro.core.untrusted.tables import TableError, read_parquet
from rsidiff_kedro.datasets.folder import FolderDataset, FolderError, require_file
from rsidiff_kedro.reporting.contact_sheet import contact_sheet, scale_for

METADATA_NAME = "metadata.parquet"
LATENTS_NAME = "latents.safetensors"
_SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")


class ImageSetDataset(FolderDataset[ImageSet]):
    """An `ImageSet` as a folder: `images/<image_id>.png`, `metadata.parquet` and, if there are any, the latents.

    Loading opens no image: each is read when it is asked for. Images that lie on disk already are hard-linked, so
    they take no more space. The preview is a contact sheet. `load` reads only what `save` could have written: an
    image's path follows from its id, and no image is a symbolic link.
    """

    large_files = ("images", LATENTS_NAME)

    def _write(self, data: ImageSet, folder: Path) -> None:
        ids = [str(image_id) for image_id in data.metadata["image_id"]]
        _check_ids(ids)
        names = [f"images/{image_id}.png" for image_id in ids]
        (folder / "images").mkdir()
        for row, name in enumerate(names):
            source = data.images.paths[row] if isinstance(data.images, ImageFiles) else None
            if source is not None and source.suffix == ".png":
                link_or_copy(source, folder / name)
            else:
                data.images[row].save(folder / name)
        if data.latents is not None:
            _write_latents(data.latents, folder)
        data.metadata.assign(file_name=names).to_parquet(folder / METADATA_NAME, index=False)

    def _read(self, folder: Path) -> ImageSet:
        metadata = _read_metadata(folder, IMAGE_COLUMNS)
        ids = metadata["image_id"].tolist()
        if metadata["file_name"].tolist() != [f"images/{image_id}.png" for image_id in ids]:
            raise FolderError(
                f"{folder / METADATA_NAME} names files that are not images/<image_id>.png; make the image set anew"
            )
        paths = [folder / name for name in metadata["file_name"]]
        present = _files_in(folder / "images")
        missing = [path.name for path in paths if path.name not in present]
        if missing:
            raise FolderError(
                f"{folder / 'images'} lacks {len(missing)} of the {len(paths)} images that {METADATA_NAME} lists, "
                f"{missing[0]} first; make the image set anew"
            )
        return ImageSet(metadata, ImageFiles(paths), _read_latents(folder, len(paths)))

    def preview(self, images: int = 24, columns: int = 6) -> ImagePreview:
        """Show a contact sheet of the first images with their prompts, as base64 of a PNG.

        Args:
            images: how many are shown.
            columns: images per row.
        """
        loaded = self._read(self._load_folder())
        rows = range(min(images, len(loaded)))
        pictures = [loaded.images[row] for row in rows]
        captions = [str(loaded.metadata["text"].iloc[row]) for row in rows]
        sheet = contact_sheet(pictures, columns, scale_for(pictures), captions)
        buffer = io.BytesIO()
        sheet.save(buffer, format="PNG")
        return ImagePreview(base64.b64encode(buffer.getvalue()).decode("ascii"))


class TrainingSetDataset(FolderDataset[TrainingSet]):
    """A `TrainingSet` as a folder: `metadata.parquet` and `latents.safetensors`; it stores no images.

    The preview is the table.
    """

    large_files = (LATENTS_NAME,)

    def _write(self, data: TrainingSet, folder: Path) -> None:
        _write_latents(data.latents, folder)
        data.metadata.to_parquet(folder / METADATA_NAME, index=False)

    def _read(self, folder: Path) -> TrainingSet:
        metadata = _read_metadata(folder, TRAINING_COLUMNS)
        latents = _read_latents(folder, len(metadata))
        if latents is None:
            raise FolderError(f"{folder} lacks {LATENTS_NAME}; make the training set anew")
        return TrainingSet(metadata, latents)

    def preview(self, rows: int = 20) -> TablePreview:
        """Show the first rows of the table."""
        table = _read_metadata(self._load_folder(), TRAINING_COLUMNS).head(rows)
        return TablePreview(table.to_dict(orient="split"))


def _check_ids(ids: list[str]) -> None:
    """Raise FolderError for an image_id that cannot name a file, or that is not unique."""
    unsafe = [image_id for image_id in ids if not _SAFE_ID.fullmatch(image_id)]
    if unsafe:
        raise FolderError(
            f"image_id {unsafe[0]!r} cannot name a file; letters, digits, '_', '-' and '.' are allowed, 200 at most"
        )
    repeated = [image_id for image_id, count in Counter(ids).items() if count > 1]
    if repeated:
        raise FolderError(f"{len(repeated)} image_ids are not unique, {repeated[0]!r} first; give each image its own")


def _read_metadata(folder: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    path = require_file(folder / METADATA_NAME, "one row per image")
    try:
        metadata = read_parquet(path)
    except TableError as error:
        raise FolderError(f"{path} is no readable parquet file ({error}); make the set anew") from error
    missing = sorted(set(columns) - set(metadata.columns))
    if missing:
        raise FolderError(f"{path} lacks the columns {missing}; make the set anew")
    if metadata.columns.has_duplicates:
        raise FolderError(f"{path} has columns of the same name; make the set anew")
    wrong = [column for column, is_sound in _SOUND.items() if column in metadata and not is_sound(metadata[column])]
    if wrong and len(metadata):
        raise FolderError(f"{path} holds values in the columns {wrong} that they cannot have; make the set anew")
    _check_ids(metadata["image_id"].tolist())
    return metadata


def _files_in(folder: Path) -> set[str]:
    """List the names of a folder's files, without symbolic links, which could lead anywhere."""
    if not folder.is_dir() or folder.is_symlink():
        return set()
    return {entry.name for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)}


def _are_texts(values: pd.Series) -> bool:
    return all(isinstance(value, str) for value in values)


def _are_whole(values: pd.Series) -> bool:
    return pd.api.types.is_integer_dtype(values) and bool((values >= 0).all())


def _are_numbers(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and bool(values.between(0, np.inf, inclusive="left").all())


_SOUND: dict[str, Callable[[pd.Series], bool]] = {
    **dict.fromkeys(("file_name", "image_id", "prompt_id", "text", "checkpoint"), _are_texts),
    **dict.fromkeys(("sample_index", "seed", "num_inference_steps", "round"), _are_whole),
    **dict.fromkeys(("guidance_scale", "weight"), _are_numbers),
}
"""Checks of a column's values; numbers must be finite and 0 or more."""


def _write_latents(latents: Tensor, folder: Path) -> None:
    save_file({"latents": latents.detach().cpu().contiguous()}, folder / LATENTS_NAME)


def _read_latents(folder: Path, count: int) -> Tensor | None:
    path = folder / LATENTS_NAME
    if not path.exists():
        return None
    try:
        latents = load_file(path)["latents"]
    except (SafetensorError, KeyError, OSError) as error:
        raise FolderError(f"{path} holds no tensor 'latents' that can be read ({error}); make it anew") from error
    if latents.dtype != torch.float32 or latents.dim() != 4 or not latents.isfinite().all():
        shape = list(latents.shape)
        raise FolderError(f"{path} holds no finite float32 latents, but {latents.dtype} {shape}; make it anew")
    if len(latents) != count:
        raise FolderError(f"{path} holds {len(latents)} latents for {count} images; make the set anew")
    return latents
