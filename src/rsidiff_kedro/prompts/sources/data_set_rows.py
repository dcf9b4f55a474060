"""Read the wanted columns of a Hugging Face data set."""

import logging
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from datasets.table import InMemoryTable, table_cast

import datasets
from rsidiff_kedro.core.untrusted.loading import reason
from rsidiff_kedro.core.untrusted.tables import (
    MissingColumnError,
    Table,
    TableError,
    class_names,
    name_classes,
    parquet_columns,
    read_rows,
)
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.core.untrusted.text_tables import SEPARATORS, ColumnError, check_names
from rsidiff_kedro.prompts.sources.source import PromptSourceError

logger = logging.getLogger(__name__)
_WHOLE = re.compile(r"-?[0-9]+(\.0+)?")
_TEXTS = (datasets.Value("string"), datasets.Value("large_string"))
_UNTYPED = (TypeError, KeyError, AttributeError, ValueError, RuntimeError)
"""What `datasets` raises about types that it does not know, or cannot make of others."""


def read_tables(
    paths: Iterable[Path],
    wanted: Sequence[str],
    limit: int | None,
    declared: datasets.Features | None,
    separator: str | None,
) -> pd.DataFrame:
    """Read files of text with the reader of `kind: file`, which changes no field, and name the classes.

    A column but the first that is declared, or that the first file with rows has, may be missing in others; it is empty
    there.

    Args:
        paths: of which no further one is taken once there are `limit` rows; None for all.
        declared: columns that the data set's description names.
        separator: of CSV files; None for other kinds.

    Raises:
        PromptSourceError: a file cannot be read, has no such column, or one that holds no texts, numbers or classes.
    """
    declared = declared or datasets.Features()
    tables, optional = list[tuple[Path, pd.DataFrame]](), {*declared} - {wanted[0]}
    for path in paths:
        tables.append((path, table := _read_table(path, wanted, optional, declared, separator)))
        optional |= {*table.columns} - {wanted[0]} if len(table) else set()
        if limit is not None and sum(len(table) for _, table in tables) >= limit:
            break
    _tell_empty([(path, table.columns, len(table)) for path, table in tables], wanted)
    rows = pd.concat([table for _, table in tables], ignore_index=True)
    return rows.reindex(columns=[*wanted])[:limit]


def _read_table(
    path: Path, wanted: Sequence[str], optional: Container[str], declared: datasets.Features, separator: str | None
) -> pd.DataFrame:
    if separator is not None and path.suffix.lower() not in SEPARATORS:
        raise PromptSourceError(
            f"{path}: CSV in a file of the kind {path.suffix!r}; unpack it, and name it {' or '.join(SEPARATORS)}"
        )
    try:
        table = _read_present(path, wanted, optional, separator)
        classes = [column for column in table.rows if isinstance(declared.get(column), datasets.ClassLabel)]
        named = {column: _named(table.rows[column], declared[column].names, column) for column in classes}
    except TableError as error:
        raise PromptSourceError(f"{path}: {error}") from None
    for note in table.notes:
        logger.warning(printable(f"{path}: {note}"))
    return table.rows.assign(**named)


def _read_present(path: Path, wanted: Sequence[str], optional: Container[str], separator: str | None) -> Table:
    """Return columns of a file of text, without those optional ones that it lacks."""
    try:
        return read_rows(path, wanted, separator)
    except MissingColumnError as error:
        return read_rows(path, [name for name in wanted if name in error.names or name not in optional], separator)


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


def open_typed(
    paths: Iterable[Path], wanted: Sequence[str], limit: int | None, declared: datasets.Features | None
) -> datasets.Dataset:
    """Return columns of Parquet or Arrow files, each of one type in all of them, as `datasets` makes them.

    Without one that is declared, a column has the type of the first file in which it holds a value. A column but the
    first that is declared, or that an earlier file has, may be missing in others; it is empty there. Classes are texts,
    the names that each file gives them, unless declared as classes or numbers; numbers of files that name none get the
    names of the first file that names and holds classes.

    Args:
        paths: of which no further one is taken once there are `limit` rows; None for all.
        declared: the types of columns, if the data set's description declares them.

    Raises:
        PromptSourceError: a file is damaged, has no such column, or has one that cannot be of its type.
    """
    tables = dict[Path, pa.Table]()
    types = {column: feature for column, feature in (declared or {}).items() if column in wanted}
    optional, empty = {*types} - {wanted[0]}, datasets.Value("null")
    for path in paths:
        tables[path] = table = _columns(path, wanted, optional)
        optional |= {*table.column_names} - {wanted[0]}
        if limit is not None and sum(map(len, tables.values())) >= limit:
            break
    kept = {column for column, feature in types.items() if feature not in (empty, *_TEXTS)}
    tables = _name_own(tables, kept)
    for path, table in tables.items():
        own = _features(path, table)
        types |= {column: feature for column, feature in own.items() if types.get(column, empty) == empty}
    _tell_empty([(path, table.column_names, len(table)) for path, table in tables.items()], types)
    schema, typed = datasets.Features(types).arrow_schema, list[pa.Table]()
    for path, table in tables.items():
        try:
            typed.append(table_cast(table, schema))
        except _UNTYPED as error:
            raise PromptSourceError(
                f"{path}: its columns cannot be of the types that its description or another file gives them "
                f"({reason(error)}); save all files with the same types, or correct the description"
            ) from None
    # Without a fingerprint `datasets` would make one of all rows.
    return datasets.Dataset(InMemoryTable(pa.concat_tables(typed)), fingerprint="rows")


def _features(path: Path, table: pa.Table) -> datasets.Features:
    try:
        return datasets.Features.from_arrow_schema(table.schema)
    except _UNTYPED as error:
        raise PromptSourceError(
            f"{path}: `datasets` does not know the types of its columns ({reason(error)}); save it again"
        ) from None


def _name_own(tables: Mapping[Path, pa.Table], kept: Container[str]) -> dict[Path, pa.Table]:
    """Return files with the names of classes, which are texts, in place of their numbers, and no type without a value.

    Args:
        kept: columns whose numbers are left as they are.
    """
    own = {path: class_names(_features(path, table).to_dict()) for path, table in tables.items()}
    first = dict[str, list[str]]()
    for path, names in reversed(own.items()):
        first |= {each: names[each] for each in names if each not in kept and not _is_empty(tables[path][each])}
    named = dict(tables)
    for path, table in tables.items():
        for place, (column, kind) in enumerate(zip(table.column_names, table.schema.types)):
            if _is_empty(table[column]):
                values = pa.nulls(len(table))
            elif column in first and (column in own[path] or _may_be_classes(kind)):
                values = _named_column(path, table[column], own[path].get(column, first[column]), column)
            else:
                continue
            named[path] = named[path].set_column(place, column, values)
    return named


def _is_empty(column: pa.ChunkedArray) -> bool:
    return bool(pc.all(pc.is_null(column, nan_is_null=True), min_count=0).as_py())


def _may_be_classes(kind: pa.DataType) -> bool:
    """Tell whether a column without names of classes holds their numbers, or lists of these or of names."""
    in_lists = False
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind, in_lists = kind.value_type, True
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return (in_lists and is_text) or any(is_kind(kind) for is_kind in numbers)


def _named_column(path: Path, column: pa.ChunkedArray, names: list[str], name: str) -> pa.Array:
    try:
        return pa.array(name_classes(pd.Series(column.to_pylist(), dtype=object), names, name), pa.string())
    except TableError as error:
        raise PromptSourceError(f"{path}: {error}") from None


def _tell_empty(files: Sequence[tuple[object, Container[str], int]], columns: Iterable[str]) -> None:
    """Log for how many rows a column is empty because their file, with its name, columns and rows, lacks it."""
    for column in columns:
        lack = [(name, rows) for name, names, rows in files if column not in names]
        if lack:
            count, of = sum(rows for _, rows in lack), sum(rows for _, _, rows in files)
            logger.warning(
                printable(f"{lack[0][0]}: no column {column!r}, which is left empty for {count} of {of} rows")
            )


def _columns(path: Path, wanted: Sequence[str], optional: Container[str]) -> pa.Table:
    """Return columns of a Parquet or Arrow file, without those optional ones that it lacks."""
    kind, read = ("Parquet", parquet_columns) if path.suffix.lower() == ".parquet" else ("Arrow", _arrow_columns)
    try:
        return read(path, wanted, optional)
    except ColumnError as error:
        raise PromptSourceError(f"{path}: {error}") from None
    except TableError as error:
        raise PromptSourceError(f"{path}: not a valid {kind} file ({error}); save it again") from None


def _arrow_columns(path: Path, wanted: Sequence[str], optional: Container[str]) -> pa.Table:
    """Return columns of an Arrow file of either kind, a stream or one with an index, as `parquet_columns` does."""
    try:
        with pa.OSFile(str(path)) as file:
            try:
                opened, names = pa.ipc.open_stream, pa.ipc.open_stream(file).schema.names
            except (pa.ArrowInvalid, OSError):
                opened, names = pa.ipc.open_file, pa.ipc.open_file(file).schema.names
            wanted = [name for name in wanted if name in names or name not in optional]
            check_names(names, wanted)
            file.seek(0)
            chosen = pa.ipc.IpcReadOptions(included_fields=[names.index(name) for name in wanted])  # none: all
            table = opened(file, options=chosen).read_all()
        table.validate(full=True)
    except TableError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise TableError(reason(error)) from None
    return table.select(wanted)


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

    Where no types are known, a column but the first may be missing after the first row; it is empty there.

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
    chosen = loaded.select_columns([*wanted]) if loaded.features else loaded
    taken = chosen if limit is None else chosen.take(limit)
    try:
        values = _by_batches(taken, wanted) if loaded.features else _by_rows(taken, wanted, name)
    except KeyError as error:
        raise PromptSourceError(f"{name}: one of its files has no column {error.args[0]!r}; add it there") from None
    rows = pd.DataFrame({column: [*map(_without_mark, found)] for column, found in values.items()}, dtype=object)
    classes = class_names(loaded.features.to_dict()) if loaded.features else {}
    named = {column: name_classes(rows[column], classes[column], column) for column in wanted if column in classes}
    return rows.assign(**named)


def _by_batches(taken: datasets.Dataset | datasets.IterableDataset, wanted: Sequence[str]) -> dict[str, list[object]]:
    """Return the values of each column, several times as fast as by rows."""
    values = dict[str, list[object]]((column, []) for column in wanted)
    for batch in taken.iter(1000):
        for column, found in values.items():
            found += batch[column]
    return values


def _by_rows(rows: Iterable[Mapping[str, object]], wanted: Sequence[str], name: str) -> dict[str, list[object]]:
    """Return the values of each column of rows, which may lack any but the first; raise KeyError for that."""
    found = [{column: row[column] for column in wanted if column in row or column == wanted[0]} for row in rows]
    _tell_empty([(name, row, 1) for row in found], wanted)
    return {column: [row.get(column) for row in found] for column in wanted}


def _without_mark(value: object) -> object:
    """Remove a byte order mark, which `datasets` leaves in the first line of a text file."""
    return value.removeprefix("\ufeff") if isinstance(value, str) else value
