"""Image sets on disk, in the imagefolder layout that `datasets.load_dataset` and diffusers' scripts read."""

import base64
import io
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from kedro.io.core import Version
from kedro_datasets._typing import ImagePreview
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rsidiff_kedro.datasets.folder import FolderDataset, FolderError, require_file
from rsidiff_kedro.diffusion.image_set import IMAGE_COLUMNS, ImageFiles, ImageSet
from rsidiff_kedro.reporting.contact_sheet import contact_sheet, scale_for
from rsidiff_kedro.untrusted.tables import TableError, read_parquet

METADATA_NAME = "metadata.parquet"
LATENTS_NAME = "latents.safetensors"
_SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")


class ImageSetDataset(FolderDataset[ImageSet]):
    """An `ImageSet` as a folder: `images/<image_id>.png`, `metadata.parquet` and, if there are any, the latents.

    Loading opens no image: they are read one at a time when asked for. Images of a set that lies on disk already
    are copied as they are. The preview is a contact sheet. Only what `save` could have written is loaded: no image
    has another place than its id says, and none is a link.

    Args:
        filepath: the folder.
        version: given by Kedro where the catalog says `versioned: true`.
        metadata: for Kedro-Viz and other plug-ins; Kedro ignores it.
    """

    large_files = ("images", LATENTS_NAME)

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath, version, metadata)

    def _write(self, data: ImageSet, folder: Path) -> None:
        ids = [str(image_id) for image_id in data.metadata["image_id"]]
        _check_ids(ids)
        names = [f"images/{image_id}.png" for image_id in ids]
        (folder / "images").mkdir()
        for row, name in enumerate(names):
            source = data.images.paths[row] if isinstance(data.images, ImageFiles) else None
            if source is not None and source.suffix == ".png":
                shutil.copyfile(source, folder / name)
            else:
                data.images[row].save(folder / name)
        if data.latents is not None:
            save_file({"latents": data.latents.detach().cpu().contiguous()}, folder / LATENTS_NAME)
        data.metadata.assign(file_name=names).to_parquet(folder / METADATA_NAME, index=False)

    def _read(self, folder: Path) -> ImageSet:
        metadata = _read_metadata(folder)
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
        """A contact sheet of the first images with their prompts, as base64 of a PNG.

        Args:
            images: how many.
            columns: how many in a row.
        """
        loaded = self._read(self._load_folder())
        rows = range(min(images, len(loaded)))
        pictures = [loaded.images[row] for row in rows]
        captions = [str(loaded.metadata["text"].iloc[row]) for row in rows]
        sheet = contact_sheet(pictures, columns, scale_for(pictures), captions)
        buffer = io.BytesIO()
        sheet.save(buffer, format="PNG")
        return ImagePreview(base64.b64encode(buffer.getvalue()).decode("ascii"))


def _check_ids(ids: list[str]) -> None:
    """Raise FolderError for an image_id that cannot be a file's name, or that stands twice."""
    unsafe = [image_id for image_id in ids if not _SAFE_ID.fullmatch(image_id)]
    if unsafe:
        raise FolderError(
            f"image_id {unsafe[0]!r} cannot name a file; letters, digits, '_', '-' and '.' are allowed, 200 at most"
        )
    repeated = [image_id for image_id, count in Counter(ids).items() if count > 1]
    if repeated:
        raise FolderError(f"{len(repeated)} image_ids stand more than once in the image set, {repeated[0]!r} first")


def _read_metadata(folder: Path) -> pd.DataFrame:
    path = require_file(folder / METADATA_NAME, "a row an image")
    try:
        metadata = read_parquet(path)
    except TableError as error:
        raise FolderError(f"{path} is no readable parquet file ({error}); make the image set anew") from error
    missing = sorted(set(IMAGE_COLUMNS) - set(metadata.columns))
    if missing:
        raise FolderError(f"{path} lacks the columns {missing}; make the image set anew")
    if metadata.columns.has_duplicates:
        raise FolderError(f"{path} has columns that stand more than once; make the image set anew")
    wrong = [column for column, is_sound in _SOUND.items() if column in metadata and not is_sound(metadata[column])]
    if wrong and len(metadata):
        raise FolderError(f"{path} holds values in the columns {wrong} that they cannot have; make the image set anew")
    ids = metadata["image_id"].tolist()
    _check_ids(ids)
    if metadata["file_name"].tolist() != [f"images/{image_id}.png" for image_id in ids]:
        raise FolderError(f"{path} names files that are not images/<image_id>.png; make the image set anew")
    return metadata


def _files_in(folder: Path) -> set[str]:
    """The names of a folder's files, without links, which could lead anywhere."""
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
"""Whether a column's values can be what they are called; numbers of any kind are 0 or more, and finite."""


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
        raise FolderError(f"{path} holds {len(latents)} latents for {count} images; make the image set anew")
    return latents
