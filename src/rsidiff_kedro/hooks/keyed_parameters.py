"""Say what of a step's parameters counts in its key: their values, and the content of what they name."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kedro.utils import is_kedro_project
from pydantic import BaseModel

from rsidiff_kedro.core.locations import Found, Location, NoResult, marked
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.provenance.content_digest import content_of
from rsidiff_kedro.rewards.registry import FEATURES, REWARDS

_REWARDS, _MODEL = "rewards", "model"
"""The section of the preference models, and one that names none of them, but may name a family of one's own."""


class KeyedParameters:
    """The parameters of a project, as keys hold them.

    Files and folders count by their place in the project and their content, ids on the hub with their commit (of
    preference models, only of those that the step's other parameters name). Settings that change no result are left
    out.

    Args:
        parameters: the whole tree, whose relative paths start at `root`.
        root: the project's.
        content: tells the content of a location, and may ask the hub, as `content_of` does.
    """

    def __init__(
        self,
        parameters: Section | None = None,
        root: Path = Path(),
        content: Callable[[Found, bool], str | None] = content_of,
    ) -> None:
        self._root, self._content = root.resolve(), content
        self._around = next((each for each in self._root.parents if is_kedro_project(each)), self._root)
        self._marked: dict[str, Found] = dict(marked(parameters)) if parameters is not None else {}

    def of_step(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters that a step reads, by their path, as its key holds them."""
        plain = {name: _plain(value) for name, value in values.items()}
        others = {name: value for name, value in plain.items() if name.split(".")[0] not in (_REWARDS, _MODEL)}
        named = {text for value in others.values() for text in texts(value)}
        models = plain.get(_REWARDS, {})
        for name in list(named):  # the features that a named reward reads are named by it
            named |= {*texts(models.get(_section_of(name)))}
        if named and _REWARDS in plain and not any(map(_is_model, named)):  # the step opens none as it is set
            plain[_REWARDS] = {}
        return {name: self._resolved(value, name, named) for name, value in plain.items()}

    def _resolved(self, value: Any, path: str, named: set[str]) -> Any:
        if isinstance(value, dict):
            parts = {key: f"{path}.{key}" if path != "parameters" else key for key in value}
            kept = {key: part for key, part in parts.items() if not self._changes_nothing(part, named)}
            return {key: self._resolved(value[key], part, named) for key, part in kept.items()}
        if isinstance(value, list):
            return [self._resolved(part, f"{path}.{number}", named) for number, part in enumerate(value)]
        found = self._marked.get(path)
        if found is None or value is None:
            return value
        shown, content = self._shown(str(value)), self._content(found, _is_read(path, named))
        return f"{shown} ({content})" if content else shown

    def _changes_nothing(self, path: str, named: set[str]) -> bool:
        found = self._marked.get(path)
        if found is not None and isinstance(found.mark, Location) and found.mark.only_if_named:
            return not _is_read(path, named)
        return found is not None and isinstance(found.mark, NoResult)

    def _shown(self, text: str) -> str:
        """Write a path below the project, or one around it, as of a study's run, without their place: it may move."""
        inside = Path(text).is_relative_to(self._around)
        return os.path.relpath(text, self._root) if inside else text


def _is_read(path: str, named: set[str]) -> bool:
    """Tell whether a step that names these rewards opens what a parameter names; it may hold those of others too."""
    section, _, rest = path.partition(".")
    return section != _REWARDS or any(rest.startswith(f"{_section_of(name)}.") for name in named)


def _is_model(text: str) -> bool:
    """Tell whether a text may name a preference model or an embedding."""
    return ":" in text or text in REWARDS or text in FEATURES


def _section_of(reward: str) -> str:
    return "hpsv2" if reward.startswith("hpsv2_") else reward


def _plain(value: Any) -> Any:
    """Return a parameter as JSON holds it."""
    if isinstance(value, BaseModel):  # Kedro loads what a node declares as settings
        value = value.model_dump()
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(part) for part in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def texts(tree: Any) -> Iterator[str]:
    """Yield every text of a tree, keys included."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield key
            yield from texts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from texts(value)
    elif isinstance(tree, str):
        yield tree
