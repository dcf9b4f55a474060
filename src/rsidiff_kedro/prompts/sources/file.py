"""Read prompts from a file or from a folder of files."""

import logging
import os
import re
from pathlib import Path
from typing import Literal

import pandas as pd

from rsidiff_kedro.core.untrusted.paths import lies_inside
from rsidiff_kedro.core.untrusted.tables import SUFFIXES, MissingColumnError, TableError, read_rows, text_columns
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.core.untrusted.text_tables import SEPARATORS
from rsidiff_kedro.prompts.sources.source import PromptSourceError, Source, read_columns, tell_missing_parts

logger = logging.getLogger(__name__)
DEFAULT_COLUMN = "text"
_OTHER_SEPARATOR = re.compile(r"[;\t|]|^sep=")
"""A mark in the name of a column which shows that another sign than the suffix says separates the columns."""


class PromptFileError(PromptSourceError):
    """A prompt file that cannot be read; the message says why in one line."""


class FileSource(Source):
    """Prompts of a file in UTF-8 or Parquet, or of all such files in a folder.

    Attributes:
        path: a .txt file (one prompt per line), .csv, .tsv, .json (a list of texts or of objects), .jsonl, .ndjson or
            .parquet; or a folder, where each file's name without its suffix is the category of its prompts. Hidden
            files of a folder are passed over.
        column: the column, or key, that holds the prompts; unused for .txt and for a list of texts. None is `text`, or
            the only other column of texts if there is none of that name. In CSV and TSV that column's name must be one
            word, unlike most of its texts, because the first line may be a prompt.
        category_column: the column of categories, in whose proportions prompts are split; None for no categories.
    """

    kind: Literal["file"] = "file"
    path: Path
    column: str | None = None
    category_column: str | None = None

    def collect(self, seed: int) -> pd.DataFrame:
        """Return all prompts in their order, those of a folder in the order of the files' names."""
        if not os.path.isdir(self.path):
            return _read_prompts(self, self.path, "")
        files = [path for path in sorted(self.path.iterdir()) if path.is_file() and not path.name.startswith(".")]
        readable = [path for path in files if path.suffix.lower() in SUFFIXES]
        if not readable:
            raise PromptFileError(f"{self.path}: the folder holds no prompt file; use {', '.join(SUFFIXES)}")
        for path in readable:
            if not lies_inside(self.path, path.name):
                raise PromptFileError(
                    f"{path}: a link to a file outside of the folder; put the file itself into the folder, or remove "
                    "the link"
                )
        tell_missing_parts(str(self.path), [path.name for path in readable])
        folders = [path.name for path in sorted(self.path.iterdir()) if path.is_dir() and path.name[0] != "."]
        if folders:
            logger.warning(
                printable(
                    f"{self.path}: not read: {len(folders)} folders in it ({folders[0]} first); put their files beside "
                    "the others, or name each in a mixture"
                )
            )
        others = [path.name for path in files if path not in readable]
        if others:
            logger.info(
                printable(f"{self.path}: not read, because they are no prompt files: {len(others)} ({others[0]} first)")
            )
        return pd.concat([_read_prompts(self, path, path.stem) for path in readable], ignore_index=True)


def _read_prompts(source: FileSource, path: Path, category: str) -> pd.DataFrame:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise PromptFileError(f"{path}: unknown kind of prompt file {suffix!r}; use one of {', '.join(SUFFIXES)}")
    if not os.path.isfile(path):  # pathlib raises where a path is too long
        raise PromptFileError(f"{path}: no such file; give the path of a prompt file")
    try:
        column = source.column or _find_column(path, source.category_column)
        table = read_rows(path, [each for each in (column, source.category_column) if each is not None])
    except TableError as error:
        raise PromptFileError(f"{path}: {error}") from None
    if table.rows.empty:
        raise PromptFileError(f"{path}: the file holds no prompt; give at least one")
    for note in table.notes:
        logger.warning(printable(f"{path}: {note}"))
    return read_columns(table.rows, column, source.category_column, str(path), path.name, category)


def _find_column(path: Path, category_column: str | None) -> str:
    """Return `text`, or the only column of texts but the categories'; raise MissingColumnError if there are several."""
    try:
        read_rows(path, [DEFAULT_COLUMN])
    except MissingColumnError as error:
        found = text_columns(path, [name for name in error.names if name != category_column])
        if len(found) != 1 or _OTHER_SEPARATOR.search(found[0]):
            raise
        if path.suffix.lower() in SEPARATORS and _may_be_prompt(found[0], read_rows(path, found).rows[found[0]]):
            raise TableError(
                f"no column 'text', and the name of its only column of texts, {found[0]!r}, may be a prompt: write a "
                "line with the columns' names above the first prompt, or give that name as `column`"
            ) from None
        logger.info(printable(f"{path}: prompts are read from the column {found[0]!r}"))
        return found[0]
    return DEFAULT_COLUMN


def _may_be_prompt(name: str, texts: pd.Series) -> bool:
    """Tell whether a column's name has several words, or one as half of its texts have."""
    words = [len(text.split()) for text in texts]
    return len(name.split()) > 1 or sum(count < 2 for count in words) * 2 >= len(words)
