"""Read real images with captions as the training set of supervised fine-tuning."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image, ImageOps

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.prompt_table import prompt_id, writable
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.core.untrusted.images import ImageReadError, image_suffixes, read_header, read_image
from rsidiff_kedro.core.untrusted.paths import lies_inside
from rsidiff_kedro.core.untrusted.tables import MissingColumnError, TableError, read_rows
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.diffusion.model import DiffusionModel
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.prompt_tokenizer import PromptTokenizer
from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.execution.engine import Task, run_shards
from rsidiff_kedro.execution.local import Shard, split
from rsidiff_kedro.execution.partial_results import PartialResults

logger = logging.getLogger(__name__)


TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Names that Hugging Face's imagefolder layout gives its table."""


class RealImageError(InputError):
    """A folder of real images cannot be used; the message says why."""


def read_pairs(folder: Path, text_column: str) -> pd.DataFrame:
    """Read the table of an imagefolder: file_name and text, one row per image.

    Raises:
        RealImageError: the folder, its table, a column, a caption or an image is missing, or a caption is no text.
    """
    return _read_pairs(folder, text_column)[0]


def check_pairs(folder: Path, text_column: str, tokenizer: PromptTokenizer | None = None) -> str:
    """Check a folder without decoding its images; count in one log line what of it is not trained on as it is.

    These are images in no row, captions that a text encoder cuts, and images that are transparent, animated or not
    square.

    Args:
        tokenizer: the model's, which limits a caption's length; None for no limit.

    Returns:
        The number of pairs, and what was logged.

    Raises:
        RealImageError: `read_pairs` or `encode_pairs` would raise it, except for images that are cut.
    """
    pairs, notes = _read_pairs(folder, text_column)
    if tokenizer is not None:
        notes += _cut_captions(pairs, tokenizer)
    with _refusing():
        headers = [read_header(folder / name) for name in pairs["file_name"]]
    transparent = pairs["file_name"][[header.transparent for header in headers]].tolist()
    animated = pairs["file_name"][[header.animated for header in headers]].tolist()
    oblong = pairs["file_name"][[not header.square for header in headers]].tolist()
    if transparent:
        notes.append(f"{_images(transparent)} with an alpha channel or transparent color, put on white")
    if animated:
        notes.append(f"{_images(animated)} with several frames, of which only the first is used")
    if oblong:
        notes.append(f"{_images(oblong)} not square, of which only the middle square is used")
    if notes:
        logger.warning(printable(f"sft.images ({folder}): {'; '.join(notes)}"))
    return "; ".join([f"{len(pairs)} pairs", *notes])


def _read_pairs(folder: Path, text_column: str) -> tuple[pd.DataFrame, list[str]]:
    """Return the pairs, and what there is to say about the table."""
    found = [name for name in TABLES if os.path.isfile(folder / name)]
    if not found:
        raise RealImageError(
            f"sft.images: {folder} holds none of {', '.join(TABLES)}; give a folder in the imagefolder layout of "
            "Hugging Face: images, and a table with their file_name and caption"
        )
    if len(found) > 1:
        raise RealImageError(f"sft.images: {folder} holds {' and '.join(found)}; remove all but one")
    path = folder / found[0]
    if not lies_inside(folder, found[0]):
        raise RealImageError(f"{path}: a link to a file outside of the folder; put the file itself into the folder")
    try:
        table = read_rows(path, ["file_name", text_column])
    except MissingColumnError as error:
        raise RealImageError(
            f"{path}: {error}; give one row per image, and name the caption's column in sft.text_column"
        ) from None
    except TableError as error:
        raise RealImageError(f"{path}: {error}") from None
    rows = table.rows
    if rows.empty:
        raise RealImageError(f"{path}: has no rows; give one row per image")
    names, captions = pd.Series([str(name) for name in rows["file_name"]], rows.index), rows[text_column]
    problems = {
        "are missing": names[[not lies_inside(folder, name) for name in names]],
        "have no caption": names[[_is_blank(caption) for caption in captions]],
        "have a caption that is no text": names[[not isinstance(caption, str) for caption in captions]],
    }
    for problem, wrong in problems.items():
        if len(wrong):
            raise RealImageError(
                f"{path}: {len(wrong)} images {problem}, {wrong.iloc[0][:100]!r} first; correct or remove these rows; "
                "images must be in the folder or below it, and not hidden"
            )
    pairs = pd.DataFrame({"file_name": names, "text": captions.map(writable)}).reset_index(drop=True)
    again = names[names.map(os.path.normpath).duplicated()].tolist()
    repeated = [f"{_images(again)} named by an earlier row too, trained on once per row"] if again else []
    return pairs, [*table.notes, *repeated, *_unused_images(folder, names)]


def _unused_images(folder: Path, names: pd.Series) -> list[str]:
    """Count the images that no row of the table names; hidden files do not count."""
    used, suffixes, unused = {os.path.normpath(name) for name in names}, image_suffixes(), []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = os.path.relpath(root, folder)
        paths = [os.path.normpath(os.path.join(here, name)) for name in sorted(files) if not name.startswith(".")]
        unused += [path for path in paths if Path(path).suffix.lower() in suffixes and path not in used]
    return [f"{_images(unused)} in no row of the table, not used"] if unused else []


def _cut_captions(pairs: pd.DataFrame, tokenizer: PromptTokenizer) -> list[str]:
    """Count the captions that are longer than a text encoder reads."""
    lengths = zip(pairs["file_name"], tokenizer.lengths(pairs["text"].tolist()))
    cut = [(name, tokens, read) for name, (tokens, read) in lengths if tokens > read]
    if not cut:
        return []
    name, tokens, read = cut[0]
    return [
        f"{len(cut)} of {len(pairs)} captions cut, because a text encoder reads fewer tokens "
        f"({name[:100]!r} first: it reads {read} of {tokens})"
    ]


def _images(names: list[str]) -> str:
    return f"1 image ({names[0][:100]!r})" if len(names) == 1 else f"{len(names)} images ({names[0][:100]!r} first)"


def _is_blank(caption: Any) -> bool:
    return not caption.strip() if isinstance(caption, str) else pd.isna(caption) is True


def encode_pairs(
    model: DiffusionModel | ModelSettings,
    folder: Path,
    pairs: pd.DataFrame,
    micro_batch_size: int,
    unfinished: Path | None = None,
) -> TrainingSet:
    """Encode the pairs' images, cut to the model's square, as a training set with weights of one.

    Args:
        model: as in `sample_images`.
        pairs: from `read_pairs`.
        micro_batch_size: images encoded at once.
        unfinished: as in `sample_images`.

    Raises:
        RealImageError: an image cannot be read.
    """
    image_ids = [f"real_{number:06d}" for number in range(len(pairs))]
    metadata = pd.DataFrame({"image_id": image_ids, "prompt_id": pairs["text"].map(prompt_id), "text": pairs["text"]})
    shards, names = list(split(image_ids, micro_batch_size)), pairs["file_name"].tolist()
    encoding = Encoding(model, folder, micro_batch_size, unfinished)
    parts = dict(run_shards(encoding, shards, lambda shard: names[shard.start : shard.stop], "encoding real images"))
    return TrainingSet(metadata.assign(round=0, weight=1.0), torch.cat([parts[shard] for shard in shards]))


@dataclass(frozen=True)
class Encoding(Task[list[str], torch.Tensor]):
    """Encode files of a folder; see `encode_pairs`."""

    model: DiffusionModel | ModelSettings
    images: Path
    micro_batch_size: int
    folder: Path | None

    def open(self) -> Callable[[Shard, list[str]], torch.Tensor]:
        """Open the model."""
        model = load_model(self.model) if isinstance(self.model, ModelSettings) else self.model

        def encode(shard: Shard, names: list[str]) -> torch.Tensor:
            batch = [_read_square(self.images / name, model.image_size) for name in names]
            batch += batch[-1:] * (self.micro_batch_size - len(names))
            latents = model.encode_images(batch)[: len(names)].cpu()
            PartialResults(self.folder).save(shard.key, latents)
            return latents

        return encode

    def find(self, shard: Shard, given: list[str]) -> torch.Tensor | None:
        """Return the latents that are kept."""
        return PartialResults(self.folder).load(shard.key, len(given))

    def portable(self) -> "Encoding | None":
        """Return the task with absolute paths."""
        if self.folder is None or not isinstance(self.model, ModelSettings):
            return None
        return replace(self, images=self.images.absolute(), folder=self.folder.absolute())


def _read_square(path: Path, side: int) -> Image.Image:
    """Return the middle square of an image at this size, without the file's metadata, such as its location."""
    with _refusing():
        return ImageOps.fit(read_image(path), (side, side), Image.Resampling.BICUBIC)


@contextmanager
def _refusing() -> Iterator[None]:
    """Raise RealImageError for an image that cannot be read."""
    try:
        yield
    except ImageReadError as error:
        raise RealImageError(str(error)) from error
