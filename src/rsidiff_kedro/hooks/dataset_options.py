"""Say what of the catalog's options of a dataset decides what is loaded or saved, and so belongs into a key."""

from collections.abc import Mapping
from typing import Any

from kedro.io import AbstractDataset

from rsidiff_kedro.core.untrusted.text import without_credentials

_PLACE = frozenset({"filepath", "version", "versioned", "metadata", "credentials"})
"""Options that say where data lies, how it is opened there, or what is shown of it; content has a digest of its own."""


def options_of(dataset: AbstractDataset[Any, Any] | None, is_input: bool) -> dict[str, Any]:
    """Return the class and the options of a dataset as JSON holds them; nothing for data that stays in memory.

    Args:
        dataset: None if Kedro keeps it in memory.
        is_input: whether it is loaded, which `save_args` do not change, or saved, which `load_args` do not change.
    """
    if dataset is None or dataset._EPHEMERAL:
        return {}
    given = dict(dataset._init_config())
    given |= given.pop("kwargs", {})  # where Kedro could not tell a subclass's arguments apart
    if given.get("args") == ():
        del given["args"]
    unused = _PLACE | {"save_args" if is_input else "load_args"}
    if "filepath" not in given:
        unused |= {"path"}  # the place of Kedro's datasets of many files
    return {name: _plain(value) for name, value in given.items() if name not in unused and value is not None}


def options_in(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the class and the options of a dataset as the catalog's file says them, whether it is loaded or saved."""
    return {name: _plain(value) for name, value in config.items() if name not in _PLACE}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(part) for part in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, AbstractDataset):
        return _plain(value._init_config())
    return value if value is None or isinstance(value, bool | int | float) else without_credentials(str(value))
