"""Read prompts from a file or from a folder of files."""

import io
import json
import os
from pathlib import Path
from typing import Any, Literal, Self

import pandas as pd

from rsidiff_kedro.core.prompt_table import writable
from rsidiff_kedro.core.untrusted.tables import TableError, read_parquet
from rsidiff_kedro.prompts.sources.source import PromptSourceError, Source, read_columns

SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".parquet")


class PromptFileError(PromptSourceError):
    """A prompt file that cannot be read; the message says why in one line."""


class FileSource(Source):
    """Prompts of a file in UTF-8 or Parquet, or of all such files in a folder.

    Attributes:
        path: a .txt file (one prompt per line), .csv, .tsv, .json (a list of texts or of objects), .jsonl or .parquet;
            or a folder, where each file's name without its suffix is the category of its prompts.
        column: the column, or key, that holds the prompts; unused for .txt and for a list of texts.
        category_column: the column of categories, in whose proportions prompts are split; None for no categories.
    """

    kind: Literal["file"] = "file"
    path: Path
    column: str = "text"
    category_column: str | None = None

    def within(self, folder: Path) -> Self:
        return self.model_copy(update={"path": folder / os.path.expanduser(self.path)})

    def collect(self, seed: int) -> pd.DataFrame:
        """Return all prompts in their order, those of a folder in the order of the files' names."""
        if not os.path.isdir(self.path):
            return _read_prompts(self, self.path, "")
        files = sorted(path for path in self.path.iterdir() if path.is_file() and path.suffix.lower() in SUFFIXES)
        if not files:
            raise PromptFileError(f"{self.path}: the folder holds no prompt file; use {', '.join(SUFFIXES)}")
        return pd.concat([_read_prompts(self, path, path.stem) for path in files], ignore_index=True)


def _read_prompts(source: FileSource, path: Path, category: str) -> pd.DataFrame:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise PromptFileError(f"{path}: unknown kind of prompt file {suffix!r}; use one of {', '.join(SUFFIXES)}")
    if not os.path.isfile(path):  # pathlib raises where a path is too long
        raise PromptFileError(f"{path}: no such file; give the path of a prompt file")
    try:
        rows = read_parquet(path) if suffix == ".parquet" else _read_text(path, suffix, source.column)
    except TableError as error:
        raise PromptFileError(f"{path}: not a valid Parquet file ({error}); save it again") from None
    if rows.empty:
        raise PromptFileError(f"{path}: the file holds no prompt; give at least one")
    for column in filter(None, (source.column, source.category_column)):
        count = list(rows.columns).count(column)
        if count > 1:
            raise PromptFileError(f"{path}: {count} columns are named {column!r}; rename all but one")
        if not count:
            raise PromptFileError(f"{path}: no column {column!r}; there are {', '.join(map(str, rows.columns))}")
    return read_columns(rows, source.column, source.category_column, str(path), path.name, category)


def _read_text(path: Path, suffix: str, column: str) -> pd.DataFrame:
    """Return the rows of a text file; where there are no columns, name the only one `column`."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptFileError(
            f"{path}: not UTF-8 (byte 0x{error.object[error.start]:02x} at position {error.start}); save it as UTF-8"
        ) from None
    if not text.strip():
        raise PromptFileError(f"{path}: the file is empty; give at least one prompt")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    if suffix == ".txt":
        return pd.DataFrame({column: lines})
    if suffix == ".json":
        return _parse_json(path, text, column)
    return _parse_json_lines(path, lines) if suffix == ".jsonl" else _parse_table(path, text, suffix)


def _parse_table(path: Path, text: str, suffix: str) -> pd.DataFrame:
    separator = "\t" if suffix == ".tsv" else ","
    try:
        # The header is read as a row: pandas would take a row that is longer than its header for one with an index,
        # and rename columns of the same name.
        table = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, header=None)
    except ValueError as error:  # pandas' own derive from it
        raise PromptFileError(
            f"{path}: not a valid {suffix[1:]} file ({error}); quote prompts that hold the separator"
        ) from None
    return table.iloc[1:].set_axis(table.iloc[0].tolist(), axis="columns")


def _parse_json(path: Path, text: str, column: str) -> pd.DataFrame:
    items = _loads(text, f"{path}:")
    if not isinstance(items, list):
        raise PromptFileError(
            f"{path}: a JSON {_json_name(items)}, but prompts are a list; "
            'write ["a prompt"] or [{"text": "a prompt"}]'
        )
    kinds = {_json_name(item) for item in items}
    if kinds == {"text"}:
        return pd.DataFrame({column: [writable(item) for item in items]})
    if kinds - {"object"}:
        raise PromptFileError(
            f"{path}: the list holds {' and '.join(sorted(kinds))} items; give a list of texts or a list of objects"
        )
    return pd.DataFrame(items)


def _parse_json_lines(path: Path, lines: list[str]) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            rows.append(_loads(line, f"{path}: line {number} is"))
            if not isinstance(rows[-1], dict):
                raise PromptFileError(f'{path}: line {number} is not a JSON object; write {{"text": "a prompt"}}')
    return pd.DataFrame(rows)


def _loads(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_row)
    except (ValueError, RecursionError) as error:
        raise PromptFileError(f"{where} not valid JSON ({error}); correct it") from None


def _row(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {writable(key): writable(value) if isinstance(value, str) else value for key, value in pairs}


def _json_name(value: Any) -> str:
    names = {dict: "object", list: "list", str: "text", bool: "truth value", type(None): "null"}
    return names.get(type(value), "number")
