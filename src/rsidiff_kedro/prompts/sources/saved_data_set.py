"""Find the files of a data set that `Dataset.save_to_disk` has written, among the caches that lie beside them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from rsidiff_kedro.prompts.sources.source import PromptSourceError

STATE = "state.json"
"""A file beside a saved data set, which names its files."""


def saved_files(paths: Sequence[str], state_of: Callable[[str], Path | None]) -> list[str]:
    """Return those of the Arrow files of a data set that it consists of; all if it was not saved so.

    `datasets` keeps what it makes of a saved data set, such as what `map` returns, in files beside it.

    Args:
        paths: Arrow files, with `/` between folders.
        state_of: returns where the file `STATE` of a folder is, named as in the paths; None if it has none.

    Raises:
        PromptSourceError: the state cannot be read, or names a file that is not there.
    """
    chosen = list[str]()
    for folder in dict.fromkeys(path.rpartition("/")[0] for path in paths):
        there = [path for path in paths if path.rpartition("/")[0] == folder]
        state = state_of(folder)
        names = None if state is None else _named(state)
        named = there if names is None else [f"{folder}/{name}" for name in names]
        missing = sorted({*named} - {*there})
        if missing:
            raise PromptSourceError(
                f"{state}: it names {missing[0]!r}, which is not there; save the data set again, or write it with "
                "to_parquet"
            )
        chosen += named
    return chosen


def _named(state: Path) -> list[str] | None:
    """Return the names of the files that a state names; None if it is of something else."""
    try:
        content = json.loads(state.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "_data_files" not in content:
            return None
        return [str(each["filename"]) for each in content["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise PromptSourceError(
            f"{state}: it does not say which files the data set has ({type(error).__name__}); save the data set again, "
            "or write it with to_parquet"
        ) from None
