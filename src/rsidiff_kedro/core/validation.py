"""Explain what is wrong with a tree of settings, in the words of the YAML that a user wrote."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from rsidiff_kedro.core.section import Section

WORDS = {
    "model_type": "it should be a section, with a value for each of its names",
    "dict_type": "it should be a section, with a value for each of its names",
    "is_instance_of": "it should be a section, with a value for each of its names",
    "tuple_type": "it should be a list, such as [a, b]",
    "bool_parsing": "it should be true or false",
    "bool_type": "it should be true or false",
}
"""What pydantic says in words of Python, in words of YAML, by the kind of error."""
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def explain(error: ValidationError, schema: type[Section], tree: Mapping[str, Any]) -> str:
    """Return one line that names each wrong parameter, its value and what is allowed."""
    return "; ".join(dict.fromkeys(_explain(details, schema, tree) for details in error.errors()))


def _explain(details: ErrorDetails, schema: type[Section], tree: Mapping[str, Any]) -> str:
    path = [str(part) for part in details["loc"]]
    name = ".".join(path)
    if details["type"] == "extra_forbidden":
        return f"unknown parameter '{name}'{_suggestion(path, schema, tree)}"
    if details["type"] == "missing":
        return f"parameter '{name}' is missing; set it"
    message = WORDS.get(details["type"]) or details["msg"].removeprefix("Value error, ")
    if details["type"] == "value_error":
        return f"parameter '{name}': {message}" if name else message
    bounds = _bounds(path, schema, tree)
    return f"parameter '{name}' is {details['input']!r}: {message[0].lower() + message[1:]}{bounds}"


def _suggestion(path: Sequence[str], schema: type[Section], tree: Mapping[str, Any]) -> str:
    """Name the most similar parameter, of the same section or of any other; else what the section has."""
    *parents, key = path
    section = _section_at(parents, schema, tree)
    siblings = {name: ".".join([*parents, name]) for name in section.model_fields} if section else {}
    anywhere = {name.rpartition(".")[2]: name for name, _ in fields_of(schema)}
    for names in (siblings, anywhere):
        close = difflib.get_close_matches(key, names, n=1, cutoff=0.7)
        if close:
            return f"; did you mean '{names[close[0]]}'?"
    return f"; there are {', '.join(siblings)}" if siblings else ""


def _bounds(path: Sequence[str], schema: type[Section], tree: Mapping[str, Any]) -> str:
    """Return both bounds of a field, where pydantic's message names only one of them."""
    *parents, key = path
    section = _section_at(parents, schema, tree)
    field = section.model_fields.get(key) if section else None
    bounds = [
        f"{sign} {getattr(item, name)}"
        for item in (field.metadata if field else ())
        for name, sign in _SIGNS.items()
        if getattr(item, name, None) is not None
    ]
    return f" (allowed: {' and '.join(bounds)})" if len(bounds) > 1 else ""


def _section_at(path: Sequence[str], schema: type[Section], tree: Any) -> type[Section] | None:
    """Return the class of the section at a path; a plug-in's section is of the class that its value names."""
    section: type[Section] | None = schema
    for part in path:
        if isinstance(tree, list | tuple):
            tree = tree[int(part)]
        elif isinstance(tree, Mapping) and section is not None and part in section.model_fields:
            tree = tree.get(part)
            section = next(iter(_sections_in(section.model_fields[part].annotation)), None)
        else:
            return None
        if section is not None and isinstance(tree, Mapping):
            section = section.concrete(tree)
    return section


def fields_of(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every parameter's dotted name and pydantic field, sections before what they hold; no list's items."""
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}", field
        if get_origin(field.annotation) not in (tuple, list):
            for part in _sections_in(field.annotation):
                yield from fields_of(part, f"{prefix}{name}.")


def _sections_in(annotation: Any) -> list[type[Section]]:
    """List the sections that a field's type mentions."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    is_group = get_origin(annotation) in (Annotated, Union, tuple, list) or type(annotation).__name__ == "UnionType"
    return [section for part in get_args(annotation) for section in _sections_in(part)] if is_group else []
