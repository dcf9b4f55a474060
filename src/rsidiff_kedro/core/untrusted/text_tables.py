"""Parse tables that are text: lines, CSV, TSV and JSON."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from rsidiff_kedro.core.prompt_table import writable

QUOTE, _MARK = '"', "\ufeff"
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_SPACED = re.compile(r"\s+\".*\"\s*", re.DOTALL)
SEPARATORS = {".csv": ",", ".tsv": "\t"}


class TableError(ValueError):
    """A table that cannot be read; the message says why in one line."""


class ColumnError(TableError):
    """A table that has a column twice, or not at all."""


class MissingColumnError(ColumnError):
    """A table that lacks a column.

    Attributes:
        names: the columns that it has.
    """

    def __init__(self, wanted: str, names: Sequence[str]) -> None:
        super().__init__(f"no column {wanted!r}; there are {', '.join(map(str, names))}")
        self.names = list(names)


@dataclass(frozen=True)
class Rows:
    """The columns that were asked for, and what there is to tell about them (see `tables.Table`)."""

    columns: dict[str, list[Any]]
    notes: tuple[str, ...] = ()


class _Line(NamedTuple):
    """The fields of a row, and the lines of the file that it covers."""

    fields: list[str]
    first: int
    last: int


_QUOTE = "quote prompts that hold the separator"


def check_names(names: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise MissingColumnError for a wanted column that is not there, ColumnError for one that is there twice."""
    for column in wanted:
        count = list(names).count(column)
        if count > 1:
            raise ColumnError(f"{count} columns are named {column!r}; rename all but one")
        if not count:
            raise MissingColumnError(column, names)


def parse_text(content: bytes, suffix: str, wanted: Sequence[str], separator: str | None = None) -> Rows:
    """Parse a file of this suffix; its text is UTF-8, with or without a byte order mark.

    Without a separator, the fields of a `.csv` file are separated by commas, those of a `.tsv` file by tabs.

    Raises:
        MissingColumnError: it has no column of that name.
        TableError: it is not what its suffix says.
    """
    text = _decode(content)
    if not text.strip():
        raise TableError("the file is empty; give at least one row")
    rows = _parse(text, suffix, wanted, separator)
    if _MARK not in text:
        return rows
    joined = [_Line([], number, number) for number, line in enumerate(_lines(text), 1) if _MARK in line]
    note = f"{_count(joined, 'line')} with a byte order mark inside, as where files are joined without a line break"
    return replace(rows, notes=(*rows.notes, note))


def _parse(text: str, suffix: str, wanted: Sequence[str], separator: str | None) -> Rows:
    if suffix == ".txt":
        return _only_column([*_lines(text)], wanted)
    if suffix == ".json":
        return _parse_json(text, wanted)
    if suffix in (".jsonl", ".ndjson"):
        return _parse_json_lines(_lines(text), wanted)
    return _parse_separated(text, suffix, wanted, separator or SEPARATORS[suffix])


def _decode(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(
            f"not UTF-8 (byte 0x{error.object[error.start]:02x} at position {error.start}); save it as UTF-8"
        ) from None
    if "\0" in text:
        raise TableError(f"not UTF-8 (a zero byte at character {text.index(chr(0))}, as UTF-16 has); save it as UTF-8")
    # Marks at the beginnings of lines are those of files that were joined.
    return re.sub(rf"(?<![^\r\n]){_MARK}+", "", text) if _MARK in text else text


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a text, one at a time because a table may be large."""
    return (line.rstrip("\r\n") for line in _ended_lines(text))


def _ended_lines(text: str) -> Iterator[str]:
    return (found.group() for found in _LINE.finditer(text))


def _only_column(values: list[Any], wanted: Sequence[str]) -> Rows:
    check_names([wanted[0]], wanted)
    return Rows({wanted[0]: values})


def _parse_separated(text: str, suffix: str, wanted: Sequence[str], separator: str) -> Rows:
    lines, notes = _tab_separated(text) if separator == "\t" else _quoted(text, separator)
    header, rows = lines[0].fields, lines[1:]
    by_semicolons = separator == "," and len(header) == 1 and ";" in header[0]
    for line in rows:
        if len(line.fields) > len(header):
            raise TableError(
                f"not a valid {suffix[1:]} file (line {line.first} has {len(line.fields)} fields, but the header "
                f"{len(header)}); {'separate by commas, not semicolons' if by_semicolons else _QUOTE}"
            )
        if line.fields == header:
            raise TableError(f"line {line.first} repeats the header, as where files were joined; remove it")
    check_names(header, wanted)
    short = [line for line in rows if len(line.fields) < len(header)]
    if short:
        notes.append(f"{_count(short, 'row')} with fewer fields than the header; what is missing counts as empty")
    places = [header.index(column) for column in wanted]
    columns = {
        column: [line.fields[place] if place < len(line.fields) else "" for line in rows]
        for column, place in zip(wanted, places)
    }
    return Rows(columns, tuple(notes))


def _quoted(text: str, separator: str) -> tuple[list[_Line], list[str]]:
    """Split CSV strictly: a quotation mark that opens a field closes it at a separator or the end of a line."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.reader(_ended_lines(text), delimiter=separator, strict=True)
    lines, first = [], 1
    try:
        for fields in reader:
            if fields:
                lines.append(_Line(fields, first, reader.line_num))
            first = reader.line_num + 1
    except csv.Error as error:
        raise TableError(
            f"not a valid csv file (the row that begins in line {first}: {error}); put a text with quotation marks "
            "into quotation marks and double those in it"
        ) from None
    broken = [line for line in lines if line.last > line.first]
    spaced = [line for line in lines for field in line.fields if _SPACED.fullmatch(field)]
    notes = {
        "row": (broken, "with a line break in quotation marks, read as one row each"),
        "field": (spaced, "with a space before quotation marks, read with both; remove the space after the separator"),
    }
    return lines, [f"{_count(found, kind)} {note}" for kind, (found, note) in notes.items() if found]


def _tab_separated(text: str) -> tuple[list[_Line], list[str]]:
    """Split TSV, which some programs quote like CSV and others do not quote at all.

    It counts as quoted if it is valid as such with every row in one line.
    """
    plain = [_Line(line.split("\t"), number, number) for number, line in enumerate(_lines(text), 1) if line]
    try:
        quoted, _ = _quoted(text, "\t")
    except TableError:
        return plain, _marked(plain)
    broken = [line for line in quoted if line.last > line.first]
    if not broken:
        return quoted, _unmarked(plain)
    width = len(plain[0].fields)
    if width == 1 or any(len(line.fields) != width for line in plain):
        raise _ambiguous(broken[0])
    return plain, _marked(plain)


def _ambiguous(line: _Line) -> TableError:
    return TableError(
        f"not a valid tsv file (line {line.first} opens a quotation mark that line {line.last} closes: one row or "
        "several); save it as .csv, or without quotation marks at the start of a field"
    )


def _marked(plain: list[_Line]) -> list[str]:
    """Tell of fields that keep quotation marks around them, because others of the file are not quoted as in CSV."""
    marked = [line for line in plain for field in line.fields if len(field) > 1 and field[0] == field[-1] == QUOTE]
    return [f"{_count(marked, 'field')} in quotation marks, read with them (others are lone)"] if marked else []


def _unmarked(plain: list[_Line]) -> list[str]:
    """Tell of fields that lose quotation marks around them although nothing in them needs any."""
    marked = [
        line
        for line in plain
        for field in line.fields
        if len(field) > 1 and field[0] == field[-1] == QUOTE and not set(field[1:-1]) & {QUOTE, ","}
    ]
    return [f"{_count(marked, 'field')} in quotation marks, read without them"] if marked else []


def _count(lines: list[_Line], what: str) -> str:
    first = lines[0]
    place = f"line {first.first}" if first.first == first.last else f"lines {first.first} to {first.last}"
    return f"{len(lines)} {what}{'s' * (len(lines) != 1)} ({place}{' first' * (len(lines) != 1)})"


def _parse_json(text: str, wanted: Sequence[str]) -> Rows:
    lines = [line.strip() for line in _lines(text) if line.strip()]
    if len(lines) > 1 and all(line.startswith("{") and line.endswith("}") for line in lines):
        return _parse_json_lines(_lines(text), wanted)  # as many programs name JSON lines
    items = _loads(text, "")
    if not isinstance(items, list):
        raise TableError(
            f'a JSON {_json_name(items)}, but prompts are a list; write ["a prompt"] or [{{"{wanted[0]}": "a prompt"}}]'
        )
    kinds = {_json_name(item) for item in items}
    if kinds == {"text"}:
        return _only_column([writable(item) for item in items], wanted)
    if kinds - {"object"}:
        raise TableError(
            f"the list holds {' and '.join(sorted(kinds))} items; give a list of texts or a list of objects"
        )
    return _by_key(items, wanted)


def _parse_json_lines(lines: Iterable[str], wanted: Sequence[str]) -> Rows:
    def rows() -> Iterator[dict[str, Any]]:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                row = _loads(line, f"line {number} is ")
                if not isinstance(row, dict):
                    raise TableError(f'line {number} is not a JSON object; write {{"{wanted[0]}": "a prompt"}}')
                yield row

    return _by_key(rows(), wanted)


def _by_key(rows: Iterable[dict[str, Any]], wanted: Sequence[str]) -> Rows:
    """Keep only what is wanted of each row: the rest may be much larger."""
    names, columns = dict[str, None](), {column: list[Any]() for column in wanted}
    for row in rows:
        names |= dict.fromkeys(row)
        for column, values in columns.items():
            values.append(row.get(column))
    if any(columns.values()):
        check_names([*names], wanted)
    return Rows(columns)


def _loads(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise TableError(f"{where}not valid JSON ({error}); correct it") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = {writable(key): writable(value) if isinstance(value, str) else value for key, value in pairs}
    if len(found) < len(pairs):
        ((key, _),) = Counter(writable(key) for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {key!r} stands twice in an object")
    return found


def _json_name(value: Any) -> str:
    names = {dict: "object", list: "list", str: "text", bool: "truth value", type(None): "null"}
    return names.get(type(value), "number")
