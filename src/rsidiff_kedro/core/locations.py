"""Say where a setting points: what opens it and the key of what was made with it must mean the same place."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from inspect import get_annotations
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel

from rsidiff_kedro.core.errors import InputError

S = TypeVar("S", bound=BaseModel)
_PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True)
class Location:
    """Mark a setting as `Annotated[str, Location()]`: it names a file, a folder, or an id on the Hugging Face hub.

    A setting of type `Path` is one without a mark.

    Attributes:
        revision: the setting beside it that holds the revision of a hub id.
        hub: the kind of repository that an id names: "model" or "dataset".
        is_path: tells a path from an id; by default `is_path` of this module.
        shipped: returns the folder of a name that comes with a package, else None; such a name is no path.
        beside: files in a file's folder that are read with it, by patterns of their names.
        beside_too: further such patterns, by the section that holds the setting, where its other settings decide.
        content: whether the content decides results; it does not for a cache.
        only_if_named: whether the setting counts only in the key of a step that names its preference model.
        hidden: whether hidden files in a folder count, because what reads it may be a plug-in.
    """

    revision: str | None = None
    hub: str = "model"
    is_path: Callable[[str, Path], bool] | None = None
    shipped: Callable[[str], Path | None] | None = None
    beside: tuple[str, ...] = ()
    beside_too: Callable[[Any], tuple[str, ...]] | None = None
    content: bool = True
    only_if_named: bool = False
    hidden: bool = False


@dataclass(frozen=True)
class OwnSettings:
    """Mark a setting that a plug-in defines; its texts with a `/` or a `.` that exist as paths are locations.

    Texts without a letter or a digit, such as a separator, are none. A setting of a class from outside this package
    needs no mark.
    """


@dataclass(frozen=True)
class NoResult:
    """Mark a setting that changes no result, so that other values of it make nothing again."""


Mark = Location | OwnSettings | NoResult
PLAIN = Location()
_OF_PLUGIN = Location(is_path=lambda text, root: _may_be_path(text) and os.path.exists(expand(text, root)), hidden=True)


def check_home(user: str) -> None:
    """Check that there is a home folder, for what uses it: containers may run as a user who has none.

    Raises:
        InputError: there is none.
    """
    try:
        Path.home()
    except RuntimeError:
        raise InputError(
            f"{user} needs a home folder, and this user has none; set HOME to a folder that can be written"
        ) from None


def with_home(path: str | Path) -> str:
    """Return a path with `~` at its beginning replaced.

    Raises:
        InputError: there is no home folder; a folder named `~` would be made or read in its place.
    """
    if Path(path).parts[:1] == ("~",):
        check_home(f"the path {str(path)!r}")
    return os.path.expanduser(path)


def expand(path: str | Path, root: Path = Path()) -> Path:
    """Return a path with `~` replaced; a relative one starts at `root`.

    Raises:
        InputError: as of `with_home`.
    """
    return root / with_home(path)


def is_path(text: str, root: Path = Path()) -> bool:
    """Tell a path from a hub id (`owner/name`)."""
    return text.startswith((".", "/", "~")) or text.count("/") != 1 or os.path.exists(root / text)


def locate(text: str, root: Path = Path(), location: Location = PLAIN) -> str:
    """Return the absolute path that a text means, or the text itself if it is a hub id or the name of a shipped model.

    Raises:
        InputError: it is an id by the project's root, but a folder by the working directory.
    """
    if location.shipped is not None and location.shipped(text) is not None:
        return text
    if (location.is_path or is_path)(text, root):
        return str(expand(text, root))
    if location is not _OF_PLUGIN and os.path.exists(text) and root.resolve() != Path.cwd().resolve():
        raise InputError(
            f"{text!r} is no path below the project {root}, but one below the working directory {Path.cwd()}; "
            f"give an absolute path, or run the command in {root}"
        )
    return text


def _may_be_path(text: str) -> bool:
    if not any(map(str.isalnum, text)):
        return False
    return "/" in text or "." in text.strip(".") or text.startswith((".", "~"))


def located(section: S, root: Path) -> S:
    """Return the same settings with every location absolute; a part that has `within(root)` decides itself."""
    changed = {}
    for name, mark, value in _fields(section):
        new = _located(value, mark, root)
        if new is not value:
            changed[name] = new
    return section.model_copy(update=changed) if changed else section


def _located(value: Any, mark: Mark | None, root: Path) -> Any:
    if isinstance(value, BaseModel):
        within = getattr(value, "within", None)
        return within(root) if callable(within) else located(value, root)
    if isinstance(value, Mapping):
        parts = {key: _located(part, mark, root) for key, part in value.items()}
        return parts if any(parts[key] is not part for key, part in value.items()) else value
    if isinstance(value, list | tuple):
        items = [_located(part, mark, root) for part in value]
        return type(value)(items) if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if isinstance(value, Path):
        return expand(value, root)
    if isinstance(value, str) and isinstance(mark, Location | OwnSettings):
        found = locate(value, root, mark if isinstance(mark, Location) else _OF_PLUGIN)
        return value if found == value else found
    return value


@dataclass(frozen=True)
class Found:
    """A marked setting in a tree of settings that `located` has returned.

    Attributes:
        mark: its mark.
        value: its value.
        revision: of a hub id, where a setting beside it holds one.
    """

    mark: Mark
    value: Any
    revision: str | None = None


def marked(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, Found]]:
    """Yield every marked setting, and every one of type `Path`, with its path in the tree."""
    for name, mark, value in _fields(section):
        beside = mark.revision if isinstance(mark, Location) else None
        yield from _marked(value, mark, getattr(section, beside) if beside else None, f"{prefix}{name}")


def _marked(value: Any, mark: Mark | None, revision: str | None, path: str) -> Iterator[tuple[str, Found]]:
    if isinstance(mark, NoResult):
        yield path, Found(mark, value)
    elif isinstance(value, BaseModel):
        yield from marked(value, f"{path}.")
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _marked(part, mark, revision, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _marked(part, mark, revision, f"{path}.{number}")
    elif isinstance(value, Path):
        yield path, Found(_OF_PLUGIN if isinstance(mark, OwnSettings) else mark or PLAIN, value)
    elif isinstance(value, str) and isinstance(mark, OwnSettings):
        if os.path.isabs(value) and _may_be_path(value):
            yield path, Found(_OF_PLUGIN, value)
    elif isinstance(value, str) and isinstance(mark, Location):
        yield path, Found(mark, value, revision)


def _fields(section: BaseModel) -> Iterator[tuple[str, Mark | None, Any]]:
    for name, field in type(section).model_fields.items():
        optional = (each for part in get_args(field.annotation) for each in getattr(part, "__metadata__", ()))
        marks = (each for each in (*field.metadata, *optional) if isinstance(each, Location | OwnSettings | NoResult))
        mark = next(marks, None)
        if isinstance(mark, Location) and mark.beside_too is not None:
            mark = replace(mark, beside=(*mark.beside, *mark.beside_too(section)))
        yield name, mark or _default_mark(type(section), name), getattr(section, name)


def _default_mark(kind: type[BaseModel], name: str) -> Mark | None:
    """Return the mark of a field that has none: this package marks its own locations, plug-ins need not."""
    owner = next((each for each in kind.__mro__ if name in get_annotations(each)), kind)
    return None if owner.__module__.partition(".")[0] == _PACKAGE else OwnSettings()
