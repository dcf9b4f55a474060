"""Read the wanted columns of a Hugging Face data set."""

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import datasets
from rsidiff_kedro.core.untrusted.tables import TableError, class_names, name_classes, read_rows
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.core.untrusted.text_tables import SEPARATORS
from rsidiff_kedro.prompts.sources.source import PromptSourceError

logger = logging.getLogger(__name__)
_WHOLE = re.compile(r"-?[0-9]+(\.0+)?")


def read_tables(
    paths: Iterable[Path],
    wanted: Sequence[str],
    limit: int | None,
    declared: datasets.Features | None,
    separator: str | None,
) -> pd.DataFrame:
    """Read files with the reader of `kind: file`, which changes no field, and name the classes.

    Args:
        paths: of which no further one is taken once there are `limit` rows; None for all.
        declared: columns that the data set's description names; its classes go before those of a Parquet file.
        separator: of CSV files; None for other kinds.

    Raises:
        PromptSourceError: a file cannot be read, or a column holds no texts, numbers or classes.
    """
    tables = list[pd.DataFrame]()
    for path in paths:
        tables.append(_read_table(path, wanted, declared or datasets.Features(), separator))
        if limit is not None and sum(map(len, tables)) >= limit:
            break
    return pd.concat(tables, ignore_index=True)[:limit]


def _read_table(path: Path, wanted: Sequence[str], declared: datasets.Features, separator: str | None) -> pd.DataFrame:
    if separator is not None and path.suffix.lower() not in SEPARATORS:
        raise PromptSourceError(
            f"{path}: CSV in a file of the kind {path.suffix!r}; unpack it, and name it {' or '.join(SEPARATORS)}"
        )
    try:
        table = read_rows(path, wanted, separator, class_names(declared.to_dict()))
        if path.suffix.lower() == ".parquet":
            _check_parquet(path, wanted, declared)
            return table.rows.astype(object)
        classes = [column for column in table.rows if isinstance(declared.get(column), datasets.ClassLabel)]
        named = {column: _named(table.rows[column], declared[column].names, column) for column in classes}
    except TableError as error:
        raise PromptSourceError(f"{path}: {error}") from None
    for note in table.notes:
        logger.warning(printable(f"{path}: {note}"))
    return table.rows.assign(**named)


def _named(values: pd.Series, names: list[str], column: str) -> pd.Series:
    """Return classes by their names, which CSV may hold as names or as numbers, also as 1.0, which pandas writes.

    Raises:
        TableError: a value is no class.
    """
    known = set(names)

    def number(value: Any) -> Any:
        text = value.strip() if isinstance(value, str) else None
        if text is None or text in known:
            return value if text is None else text
        return int(text.partition(".")[0]) if _WHOLE.fullmatch(text) else text or None

    return name_classes(pd.Series([number(value) for value in values], values.index, dtype=object), names, column)


def _check_parquet(path: Path, wanted: Sequence[str], declared: datasets.Features) -> None:
    """Refuse columns of a Parquet file which are, by its description or its own metadata, of another kind."""
    schema = pq.read_schema(path)
    fields = pa.schema([schema.field(column) for column in wanted], schema.metadata)
    features = datasets.Features.from_arrow_schema(fields) | declared
    for column in wanted:
        _check_plain(features[column], column, str(path))


def _check_plain(feature: Any, column: str, name: str) -> None:
    """Refuse a column that `datasets` decodes, which opens the files or addresses that its rows name."""
    inner = feature
    while isinstance(inner, datasets.List | datasets.LargeList):
        inner = inner.feature
    plain = isinstance(inner, datasets.ClassLabel) or (
        isinstance(inner, datasets.Value) and "binary" not in inner.dtype
    )
    if not plain and inner is not None:  # without features nothing is decoded
        kind = inner.dtype if isinstance(inner, datasets.Value) else type(inner).__name__
        raise PromptSourceError(
            f"{name}: column {column!r} is of the kind {kind!r}, but it has "
            "to hold texts, numbers, classes or lists of them; name another column"
        )


def read_opened(
    loaded: datasets.Dataset | datasets.IterableDataset, wanted: Sequence[str], limit: int | None, name: str
) -> pd.DataFrame:
    """Return the wanted columns of the first rows of what `datasets` has opened; classes get their names.

    Raises:
        PromptSourceError: it has no column of that name, or one that holds no texts, numbers or classes.
        TableError: a number of a class has no name.
    """
    known = loaded.column_names or list(next(iter(loaded), {}))
    missing = [column for column in wanted if column not in known]
    if missing:
        raise PromptSourceError(f"{name}: no column {missing[0]!r}; there are {', '.join(known)}")
    for column in wanted:
        _check_plain(loaded.features.get(column) if loaded.features else None, column, name)
    chosen = loaded.select_columns([*wanted])
    taken = chosen if limit is None else chosen.take(limit)
    values = [[_without_mark(row[column]) for column in wanted] for row in taken]
    rows = pd.DataFrame(values, columns=[*wanted], dtype=object)
    classes = class_names(loaded.features.to_dict()) if loaded.features else {}
    named = {column: name_classes(rows[column], classes[column], column) for column in wanted if column in classes}
    return rows.assign(**named)


def _without_mark(value: object) -> object:
    """Remove a byte order mark, which `datasets` leaves in the first line of a text file."""
    return value.removeprefix("\ufeff") if isinstance(value, str) else value
