"""Store image sets and training sets.

An image set has the imagefolder layout, which `datasets.load_dataset` and diffusers' scripts read.
"""

import base64
import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from kedro_datasets._typing import ImagePreview, TablePreview
from safetensors import SafetensorError

from rsidiff_kedro.core.files import link_or_copy
from rsidiff_kedro.core.image_set import IMAGE_COLUMNS, PNG, ImageFiles, ImageSet
from rsidiff_kedro.core.tensor_rows import Rows, are_finite, save_rows
from rsidiff_kedro.core.training_set import TRAINING_COLUMNS, TrainingSet
from rsidiff_kedro.core.untrusted.tables import TableError, read_parquet
from rsidiff_kedro.datasets.folder import FolderDataset, FolderError, require_file
from rsidiff_kedro.reporting.contact_sheet import contact_sheet, scale_for

if TYPE_CHECKING:
    from torch import Tensor

METADATA_NAME = "metadata.parquet"
LATENTS_NAME = "latents.safetensors"
_SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")


class ImageSetDataset(FolderDataset[ImageSet]):
    """An `ImageSet` as a folder: `images/<image_id>.png`, `metadata.parquet` and, if there are any, the latents.

    Loading opens no image: each is read when it is asked for. PNG files that are on disk already are hard-linked and
    take no more space. The preview is a contact sheet. `save` refuses what `load` refuses: an image's path follows
    from its id, and no image is a symbolic link.
    """

    large_files = ("images", LATENTS_NAME)
    own_files = (METADATA_NAME, LATENTS_NAME)

    def _write(self, data: ImageSet, folder: Path) -> None:
        names = _file_names(data.metadata)
        _write_parts(data.metadata.assign(file_name=names), IMAGE_COLUMNS, data.latents, folder)
        (folder / "images").mkdir()
        for row, name in enumerate(names):
            source = data.images.path(row) if isinstance(data.images, ImageFiles) else None
            if source is not None and source.suffix == ".png":
                link_or_copy(source, folder / name)
            else:
                data.images[row].save(folder / name, **PNG)

    def _read(self, folder: Path) -> ImageSet:
        metadata = _read_metadata(folder, IMAGE_COLUMNS)
        names = metadata["file_name"]
        if not names.equals(_file_names(metadata)):
            raise FolderError(
                f"{folder / METADATA_NAME} names files that are not images/<image_id>.png; make the image set anew"
            )
        missing = names[~names.isin(_files_in(folder, "images"))].str.removeprefix("images/")
        if len(missing):
            raise FolderError(
                f"{folder / 'images'} lacks {len(missing)} of the {len(names)} images that {METADATA_NAME} lists, "
                f"{missing.iloc[0]} first; make the image set anew"
            )
        return ImageSet(metadata, ImageFiles(f"{folder}/{name}" for name in names), _read_latents(folder, len(names)))

    def newest_of(self, checkpoint: str) -> "ImageSetDataset | None":
        """Return the newest version whose images an adapter of this digest generated, unless they are pruned."""
        for version in self._get_versions():
            folder = Path(version)
            if (folder / "images").is_dir() and {checkpoint} == {*_read_metadata(folder, IMAGE_COLUMNS)["checkpoint"]}:
                return type(self)(filepath=folder)
        return None

    def preview(self, images: int = 24, columns: int = 6) -> ImagePreview:
        """Show a contact sheet of the first images with their prompts, as base64 of a PNG."""
        loaded = self._read(self._load_folder())
        pictures = list(loaded.images[:images])
        captions = loaded.metadata["text"].head(images).tolist()
        buffer = io.BytesIO()
        contact_sheet(pictures, columns, scale_for(pictures), captions).save(buffer, format="PNG")
        return ImagePreview(base64.b64encode(buffer.getvalue()).decode("ascii"))


class TrainingSetDataset(FolderDataset[TrainingSet]):
    """A `TrainingSet` as a folder: `metadata.parquet` and `latents.safetensors`; it stores no images.

    The preview is the table. `save` refuses what `load` refuses.
    """

    large_files = (LATENTS_NAME,)
    own_files = (METADATA_NAME, LATENTS_NAME)

    def _write(self, data: TrainingSet, folder: Path) -> None:
        _write_parts(data.metadata, TRAINING_COLUMNS, data.latents, folder)

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


def _write_parts(metadata: pd.DataFrame, columns: tuple[str, ...], latents: Rows | None, folder: Path) -> None:
    """Write the table and the latents; raise FolderError for what could not be loaded."""
    path = folder / METADATA_NAME
    metadata.to_parquet(path, index=False)
    problem = _table_problem(read_parquet(path), columns)  # as it is read back, where types may differ
    if latents is not None:
        problem = problem or _latents_problem(latents, len(metadata))
        if not problem:
            save_rows(latents, "latents", folder / LATENTS_NAME)
    if problem:
        raise FolderError(f"the set {problem}; correct the step that makes it")


def _read_metadata(folder: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    path = require_file(folder / METADATA_NAME, "one row per image")
    try:
        metadata = read_parquet(path)
    except TableError as error:
        raise FolderError(f"{path} is no readable parquet file ({error}); make the set anew") from error
    if problem := _table_problem(metadata, columns):
        raise FolderError(f"{path} {problem}; make the set anew")
    return metadata


def _read_latents(folder: Path, count: int) -> "Tensor | None":
    path = folder / LATENTS_NAME
    if not path.exists():
        return None
    from safetensors.torch import load_file  # with torch, which is slow to import

    try:
        latents = load_file(path)["latents"]
    except (SafetensorError, KeyError, OSError) as error:
        raise FolderError(f"{path} holds no tensor 'latents' that can be read ({error}); make it anew") from error
    if problem := _latents_problem(latents, count):
        raise FolderError(f"{path} {problem}; make it anew")
    return latents


def _table_problem(metadata: pd.DataFrame, columns: tuple[str, ...]) -> str:
    """Say what is wrong with a table of images; return nothing if it is sound."""
    missing = sorted(set(columns) - set(metadata.columns))
    if missing:
        return f"lacks the columns {missing}"
    if metadata.columns.has_duplicates:
        return "has columns of the same name"
    wrong = [column for column, is_sound in _SOUND.items() if column in metadata and not is_sound(metadata[column])]
    if wrong and len(metadata):
        return f"holds values in the columns {wrong} that they cannot have"
    ids = metadata["image_id"]
    unsafe = [image_id for image_id in ids if not _SAFE_ID.fullmatch(image_id)]
    if unsafe:
        return (
            f"has the image_id {unsafe[0]!r}, which cannot name a file; letters, digits, '_', '-' and '.' are allowed, "
            "200 at most"
        )
    repeated = ids[ids.duplicated()].unique()
    return f"has {len(repeated)} image_ids that are not unique, {repeated[0]!r} first" if len(repeated) else ""


def _latents_problem(latents: Rows, count: int) -> str:
    """Say what is wrong with latents; return nothing if they are sound."""
    kinds = ("torch.float32", "torch.bfloat16")
    if str(latents.dtype) not in kinds or len(latents.shape) != 4 or not are_finite(latents):
        return f"holds no finite float32 or bfloat16 latents of 4 dimensions, but {latents.dtype} {list(latents.shape)}"
    return f"holds {len(latents)} latents for {count} images" if len(latents) != count else ""


def _file_names(metadata: pd.DataFrame) -> pd.Series:
    """Return the path of each image within an image set's folder."""
    return ("images/" + metadata["image_id"] + ".png").rename("file_name")


def _files_in(folder: Path, name: str) -> pd.Series:
    """List the files of the folder's folder `name`, without symbolic links, which could lead anywhere."""
    within = folder / name
    if not within.is_dir() or within.is_symlink():
        return pd.Series([], dtype="str")
    entries = os.scandir(within)
    return pd.Series((f"{name}/{each.name}" for each in entries if each.is_file(follow_symlinks=False)), dtype="str")


_SOUND: dict[str, Callable[[pd.Series], bool]] = {
    **dict.fromkeys(
        ("file_name", "image_id", "prompt_id", "text", "checkpoint"),
        lambda values: all(isinstance(value, str) for value in values),
    ),
    **dict.fromkeys(
        ("sample_index", "seed", "num_inference_steps", "round"),
        lambda values: pd.api.types.is_integer_dtype(values) and (values >= 0).all(),
    ),
    **dict.fromkeys(
        ("guidance_scale", "weight"),
        lambda values: pd.api.types.is_numeric_dtype(values) and values.between(0, np.inf, inclusive="left").all(),
    ),
}
"""Checks of a column's values; numbers must be finite and 0 or more."""
