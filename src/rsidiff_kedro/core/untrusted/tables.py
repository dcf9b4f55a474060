"""Read tables that may be damaged or hostile: Parquet here, files of text in `text_tables`."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import from_json

from rsidiff_kedro.core.untrusted.loading import reason
from rsidiff_kedro.core.untrusted.pointers import POINTER, is_pointer
from rsidiff_kedro.core.untrusted.text_tables import (
    ColumnError,
    MissingColumnError,
    Rows,
    TableError,
    check_names,
    parse_text,
)

__all__ = [
    "SUFFIXES",
    "MissingColumnError",
    "Table",
    "TableError",
    "class_names",
    "name_classes",
    "parquet_columns",
    "read_parquet",
    "read_rows",
    "text_columns",
]

SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True)
class Table:
    """Columns of a table, and what its reader has to tell.

    Attributes:
        rows: the columns that were asked for; texts stay as they are written.
        notes: what was filled in or can be misread, with counts and lines, one line of text each.
    """

    rows: pd.DataFrame
    notes: tuple[str, ...] = ()


def read_rows(path: Path, columns: Sequence[str], separator: str | None = None) -> Table:
    """Read columns of a table of one of `SUFFIXES`; other columns of a Parquet file are not read.

    A byte order mark is no part of the text. Classes of a `ClassLabel` column get their names. A `.txt` file, and JSON
    that is a list of texts, has only the first column.

    Args:
        separator: that of `.csv` and `.tsv`, if another than usual.

    Raises:
        MissingColumnError: it has no column of that name.
        TableError: it cannot be read; the message, in one line, says why and what to do.
    """
    wanted = list(dict.fromkeys(columns))
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise TableError(f"unknown kind of table {suffix!r}; use one of {', '.join(SUFFIXES)}")
    _check_pointer(path)
    if suffix == ".parquet":
        return Table(_read_named_parquet(path, wanted))
    try:
        rows: Rows = parse_text(path.read_bytes(), suffix, wanted, separator)
    except OSError as error:
        raise TableError(f"the file cannot be read ({reason(error)}); make it readable") from error
    # Without this type a missing value would turn whole numbers beside it into fractions.
    return Table(pd.DataFrame(rows.columns, dtype=object), rows.notes)


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a Parquet file and check that texts are UTF-8 and that no offset points outside its column.

    pandas' own metadata, such as an index, is ignored: it decides which code reads the columns.

    Raises:
        TableError: the file cannot be read.
    """
    _check_pointer(path)
    return _read_parquet(path, None)[0]


def _check_pointer(path: Path) -> None:
    if is_pointer(path):  # as text it would be three rows
        raise TableError(f"it is {POINTER}")


def text_columns(path: Path, names: Sequence[str]) -> list[str]:
    """Return those of a table's columns that hold texts, and not only texts of numbers, as a number in CSV is."""
    if path.suffix.lower() == ".parquet":
        schema = pq.read_schema(path)
        texts = {field.name for field in schema if _is_text(field.type)}
        names = [name for name in names if name in texts]
    return [name for name in names if _holds_texts(read_rows(path, [name]).rows[name])]


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _holds_texts(values: pd.Series) -> bool:
    known = values[values.notna() & (values != "")]
    texts = len(known) > 0 and all(isinstance(value, str) for value in known)
    return texts and bool(pd.to_numeric(known, errors="coerce").isna().any())


def _read_named_parquet(path: Path, wanted: list[str]) -> pd.DataFrame:
    try:
        rows, names = _read_parquet(path, wanted)
    except ColumnError:
        raise
    except TableError as error:
        raise TableError(f"not a valid Parquet file ({error}); save it again") from error
    return rows.assign(**{name: name_classes(rows[name], names[name], name) for name in wanted if name in names})


def _read_parquet(path: Path, wanted: list[str] | None) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Return the wanted columns, or all, and the names of the classes of each `ClassLabel` column."""
    table = parquet_columns(path, wanted)
    try:
        if wanted is None:
            return table.to_pandas(ignore_metadata=True), _classes(table.schema)
        rows = table.to_pandas(ignore_metadata=True, integer_object_nulls=True)
        nested = [name for name in wanted if pa.types.is_nested(table[name].type)]
        lists = {name: pd.Series(table[name].to_pylist(), dtype=object) for name in nested}
        return rows.assign(**lists), _classes(table.schema)
    except (pa.ArrowException, ValueError, KeyError) as error:  # KeyError: an unknown time zone
        raise TableError(reason(error)) from error


def parquet_columns(path: Path, wanted: Sequence[str] | None, optional: Container[str] = ()) -> pa.Table:
    """Return columns of a Parquet file, or all, with the types that it gives them; others are not read.

    Args:
        optional: columns that it may lack, which the table then lacks too.

    Raises:
        MissingColumnError: it has no column of that name.
        TableError: it cannot be read, for the reason that the message gives alone.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if wanted is not None:
                wanted = [name for name in wanted if name in names or name not in optional]
                check_names(names, wanted)
            table = file.read(wanted)
        table.validate(full=True)
    except TableError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise TableError(reason(error)) from error
    return table if wanted is None else table.select(wanted)


def _classes(schema: pa.Schema) -> dict[str, list[str]]:
    """Return `class_names` of the features that Hugging Face `datasets` writes into a file."""
    try:
        return class_names(from_json((schema.metadata or {})[b"huggingface"])["info"]["features"])
    except (KeyError, ValueError, TypeError, AttributeError):  # no such features
        return {}


def class_names(features: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the names of the classes of each `ClassLabel` column, or column of lists of them.

    `features` is what `datasets.Features.to_dict` returns.
    """
    found = {}
    for column, feature in features.items():
        while isinstance(feature, dict) and isinstance(feature.get("feature"), dict):  # a list of this feature
            feature = feature["feature"]
        names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            found[str(column)] = names
    return found


def name_classes(values: pd.Series, names: Sequence[str], column: str) -> pd.Series:
    """Return the names of classes in place of their numbers; a missing class, or -1, stays missing.

    Raises:
        TableError: a number has no name, or a text is none.
    """
    known = set(names)

    def name(value: Any) -> Any:
        if isinstance(value, list | tuple | np.ndarray):
            return ", ".join(str(name(each)) for each in value)
        is_text = isinstance(value, str)
        if is_text and value in known:  # named already
            return value
        if not is_text and (pd.isna(value) or value == -1):
            return None
        if is_text or not 0 <= value < len(names) or value != int(value):
            raise TableError(
                f"column {column!r} holds class {repr(value[:40]) if is_text else value}, but its features name "
                f"{len(names)} classes; correct the features, or save the column as text"
            )
        return names[int(value)]

    return pd.Series([name(value) for value in values], values.index, dtype=object)
