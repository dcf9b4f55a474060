"""Say what of the catalog's options of a dataset decides what is loaded or saved, and so belongs into a key."""

from collections.abc import Mapping
from typing import Any

from kedro.io import AbstractDataset, CachedDataset

from rsidiff_kedro.core.untrusted.text import without_credentials

_PLACE = frozenset({"filepath", "version", "versioned", "metadata", "credentials"})
"""Options that say where data lies, how it is opened there, or what is shown of it; content has a digest of its own."""
_WITHIN = "dataset"
"""The option of Kedro's datasets of many files, and of those that cache, that describes the dataset within."""
_Dataset = AbstractDataset[Any, Any]


def stays_in_memory(dataset: _Dataset | None) -> bool:
    """Tell whether nothing of a dataset outlives the run; Kedro says so of `CachedDataset`, too, but that saves.

    Args:
        dataset: None if Kedro keeps it in memory.
    """
    return dataset is None or (dataset._EPHEMERAL and not isinstance(dataset, CachedDataset))


def kinds_of(dataset: _Dataset | None) -> set[type]:
    """Return the classes that load and save: a dataset's, and those of datasets within it; none if it stays in memory.

    Args:
        dataset: None if Kedro keeps it in memory.
    """
    kinds, waiting = set[type](), [dataset]
    for each in waiting:  # which grows
        if each is None or stays_in_memory(each):
            continue
        held = vars(each).values()
        kinds |= {type(each), *(part for part in held if isinstance(part, type) and issubclass(part, AbstractDataset))}
        waiting += [part for part in held if isinstance(part, AbstractDataset) and part not in waiting]
    return kinds


def options_of(dataset: _Dataset | None, is_input: bool) -> dict[str, Any]:
    """Return the class and the options of a dataset as JSON holds them; nothing for data that stays in memory.

    Args:
        dataset: None if Kedro keeps it in memory.
        is_input: whether it is loaded, which `save_args` do not change, or saved, which `load_args` do not change.
    """
    if dataset is None or stays_in_memory(dataset):
        return {}
    given = _given(dataset)
    unused = _PLACE | {"save_args" if is_input else "load_args"}
    if "filepath" not in given:
        unused |= {"path"}  # the place of Kedro's datasets of many files
    return {name: _plain(value, name) for name, value in given.items() if name not in unused and value is not None}


def options_in(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the class and the options of a dataset as the catalog's file says them, whether it is loaded or saved."""
    return {name: _plain(value, name) for name, value in config.items() if name not in _PLACE and value is not None}


def _given(dataset: _Dataset) -> dict[str, Any]:
    """Return the class and the arguments of a dataset."""
    given = dict(dataset._init_config())
    given |= given.pop("kwargs", {})  # where Kedro could not tell a subclass's arguments apart
    if given.get("args") == ():
        del given["args"]
    return given


def _plain(value: Any, name: str = "") -> Any:
    """Return a value as JSON holds it; of a dataset within another, neither its place nor its credentials."""
    if isinstance(value, AbstractDataset):
        return options_in(_given(value))
    if isinstance(value, Mapping):
        return options_in(value) if name == _WITHIN else {str(each): _plain(part) for each, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(part) for part in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    return value if value is None or isinstance(value, bool | int | float) else without_credentials(str(value))
