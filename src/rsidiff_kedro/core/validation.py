"""Explain what is wrong with a tree of settings, in the words of the YAML that a user wrote."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from rsidiff_kedro.core.section import Section

_SECTION = "it should be a section, with a value for each of its names"
WORDS = {
    "model_type": _SECTION,
    "dict_type": _SECTION,
    "is_instance_of": _SECTION,
    "tuple_type": "it should be a list, such as [a, b]",
    "bool_parsing": "it should be true or false",
    "bool_type": "it should be true or false",
}
"""Descriptions in words of YAML, by the type of pydantic's error, in place of pydantic's in words of Python."""
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def explain(error: ValidationError, schema: type[Section], tree: Mapping[str, Any]) -> str:
    """Return one line that names each wrong parameter, its value and what is allowed."""
    return "; ".join(dict.fromkeys(_explain(details, schema, tree) for details in error.errors()))


def _explain(details: ErrorDetails, schema: type[Section], tree: Mapping[str, Any]) -> str:
    path = _path(details["loc"], tree)
    name = ".".join(path)
    message = WORDS.get(details["type"]) or details["msg"].removeprefix("Value error, ")
    if details["type"] == "missing":
        return f"parameter '{name}' is missing; set it"
    if details["type"] == "value_error":
        return f"parameter '{name}': {message}" if name else message
    section = _section_at(path[:-1], schema, tree)
    fields = section.model_fields if section else {}
    if details["type"] == "extra_forbidden":
        return f"unknown parameter '{name}'{_suggestion(path, fields, schema)}"
    return f"parameter '{name}' is {details['input']!r}: {message[0].lower() + message[1:]}{_bounds(fields, path[-1])}"


def _path(place: Sequence[int | str], tree: Any) -> list[str]:
    """Return the names and numbers that lead to a value, without the types that pydantic tried for a list."""
    path = []
    for part in place:
        if isinstance(tree, list | tuple) and not isinstance(part, int):
            continue
        path.append(str(part))
        if isinstance(tree, list | tuple):
            tree = tree[part] if isinstance(part, int) and part < len(tree) else None
        elif isinstance(tree, Mapping):
            tree = tree.get(part, tree)
    return path


def _suggestion(path: Sequence[str], fields: Mapping[str, FieldInfo], schema: type[Section]) -> str:
    """Name the most similar parameter of the same section or of any other; otherwise list the section's."""
    siblings = {name: ".".join([*path[:-1], name]) for name in fields}
    anywhere = {name.rpartition(".")[2]: name for name, _ in fields_of(schema)}
    for names in (siblings, anywhere):
        for close in difflib.get_close_matches(path[-1], names, n=1, cutoff=0.7):
            return f"; did you mean '{names[close]}'?"
    return f"; there are {', '.join(siblings)}" if siblings else ""


def _bounds(fields: Mapping[str, FieldInfo], key: str) -> str:
    """Return both bounds of a field, where pydantic's message names only one of them."""
    limits = fields[key].metadata if key in fields else []
    found = [(sign, getattr(item, name, None)) for item in limits for name, sign in _SIGNS.items()]
    bounds = [f"{sign} {limit}" for sign, limit in found if limit is not None]
    return f" (allowed: {' and '.join(bounds)})" if len(bounds) > 1 else ""


def _section_at(path: Sequence[str], schema: type[Section], tree: Any) -> type[Section] | None:
    """Return the class of the section at a path; a plug-in's section is of the class that its value names."""
    section: type[Section] | None = schema
    for part in path:
        if isinstance(tree, list | tuple):
            tree = tree[int(part)] if int(part) < len(tree) else None
        elif isinstance(tree, Mapping) and section is not None and part in section.model_fields:
            tree = tree.get(part)
            section = next(iter(sections_in(section.model_fields[part].annotation)), None)
        else:
            return None
        if section is not None and isinstance(tree, Mapping):
            section = section.concrete(tree)
    return section


def fields_of(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every parameter's dotted name and pydantic field, sections before their parts, without items of lists."""
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}", field
        if get_origin(field.annotation) not in (tuple, list):
            for part in sections_in(field.annotation):
                yield from fields_of(part, f"{prefix}{name}.")


def sections_in(annotation: Any) -> list[type[Section]]:
    """List the sections that a field's type mentions."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    is_group = get_origin(annotation) in (Annotated, Union, UnionType, tuple, list)
    return [section for part in get_args(annotation) for section in sections_in(part)] if is_group else []
