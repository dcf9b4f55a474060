"""Find the Arrow files that a data set names which `save_to_disk` of `datasets` has written.

`datasets` itself would guess the splits by names, read what other programs have cached beside the files, and take what
it has prepared of the same data set before.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

import datasets
from rsidiff_kedro.core.hub import hub_file, keep_names
from rsidiff_kedro.core.untrusted.paths import is_hidden, lies_inside
from rsidiff_kedro.core.untrusted.pointers import POINTER, is_pointer
from rsidiff_kedro.prompts.sources.data_set_rows import open_typed
from rsidiff_kedro.prompts.sources.kept_data_set import Kept
from rsidiff_kedro.prompts.sources.source import PromptSourceError

STATE = "state.json"
"""A file beside a saved data set, which names its files."""
SPLITS = "dataset_dict.json"
"""A file in the folder of several saved data sets, which names them, the splits of one."""
_ADVICE = "save the data set again, or write it with to_parquet"


@dataclass(frozen=True)
class Place:
    """The place of a data set's files: a folder, the hub's cache, or the hub.

    Attributes:
        name: the folder, or the id on the hub.
        revision: of the hub.
        is_folder: whether it is a folder, such as one of the hub's cache.
        kept: what the hub's cache has, if the files are there alone.
    """

    name: str
    revision: str | None
    is_folder: bool
    kept: Kept | None = None

    def file(self, name: str) -> Path | None:
        """Return where a file of the data set is, downloaded if need be; None if there is none of this name.

        Raises:
            PromptSourceError: it lies elsewhere, is hidden, is a pointer of git-lfs, or was not downloaded.
            OSError: the hub's client cannot download it.
        """
        if not self.is_folder:
            try:
                return Path(hub_file(self.name, name, self.revision, "dataset"))
            except (RemoteEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError):
                return None
        if self.kept is not None and name in self.kept.names:
            self.kept.check([name])
        path = Path(self.name, name)
        if not path.is_file():
            return None
        if not lies_inside(Path(self.name), name):
            raise PromptSourceError(f"{path}: it lies elsewhere, or is hidden; put the file itself into the data set")
        if is_pointer(path):
            raise PromptSourceError(f"{path}: it is {POINTER}")
        return path


def check_split(name: str, split: str, splits: Iterable[str]) -> None:
    """Raise PromptSourceError if a data set has no split of this name."""
    if split not in (names := [*map(str, splits)]):
        raise PromptSourceError(
            f"{name}: no split {split!r}; there are {', '.join(names)}; give one of these names, and limit for its "
            "first rows alone, or name each of several in a mixture"
        )


def open_saved(
    place: Place, wanted: Sequence[str], config_name: str | None, split: str, limit: int | None
) -> "datasets.Dataset | None":
    """Return the columns of a split of a data set that `save_to_disk` has written; None if it was not written so.

    Raises:
        PromptSourceError: it has no such split or configuration, or is not whole.
        OSError, ValueError: the hub's client cannot download it, or its files differ in their columns.
    """
    folders = _splits(place)
    if folders is None:
        return None
    if config_name not in (None, "default"):
        raise PromptSourceError(
            f"{place.name}: no configuration {config_name!r}; save_to_disk writes none, so leave config_name out"
        )
    split = _meant(split, folders)
    check_split(place.name, split, folders)
    folder = folders[split]
    state = place.file(folder + STATE)
    names = None if state is None else _named(state)
    if names is None:
        raise PromptSourceError(f"{place.name}: its split {split!r} has no {folder + STATE}; {_ADVICE}")
    return open_typed(arrow_files(place, [folder + name for name in names]), wanted, limit, None)


def _meant(split: str, saved: Iterable[str]) -> str:
    """Return the only saved split, such as `val`, that `datasets` takes for this one, `validation`; else the name."""
    usual = {str(usual): keywords for usual, keywords in datasets.data_files.SPLIT_KEYWORDS.items()}.get(split, [])
    between = f"[{datasets.data_files.NON_WORDS_CHARS}]"
    found = [name for name in saved if {*re.split(between, name)} & {*usual}]
    return found[0] if len(found) == 1 and split not in saved else split


def arrow_files(place: Place, names: Sequence[str]) -> Iterator[Path]:
    """Yield the Arrow files of a data set, in their order, each downloaded if need be.

    Raises:
        PromptSourceError: one is missing.
        OSError: the hub's client cannot download it.
    """
    if not place.is_folder:
        keep_names(place.name, names[0], place.revision, "dataset")
    for name in names:
        path = place.file(name)
        if path is None:
            raise PromptSourceError(f"{place.name}: {name!r}, which its {STATE} names, is not there; {_ADVICE}")
        yield path


def stated_files(place: Place, names: Sequence[str], split: str, is_described: bool) -> list[str]:
    """Return what saved data sets in the folders of a split's Arrow files name; the files themselves where none is.

    Args:
        place: where the files are.
        names: of the files, with `/` between folders.
        split: that `datasets` takes the files for.
        is_described: whether the data set itself says so; then no more than these files are returned.

    Raises:
        PromptSourceError: a state cannot be read, or what was saved are several splits.
    """
    chosen, saved = list[str](), dict[str, str]()
    for folder in dict.fromkeys(name[: name.rfind("/") + 1] for name in names):
        there = [name for name in names if name[: name.rfind("/") + 1] == folder]
        state = place.file(folder + STATE)
        stated = None if state is None else _named(state)
        if stated is None:
            chosen += there
            continue
        named = [folder + name for name in stated]
        chosen += ([name for name in there if name in named] or there) if is_described else named
        around, _, own = folder.rstrip("/").rpartition("/")
        saved |= {own: around} if around else {}
    for own, around in saved.items() if len(saved) > 1 and not is_described else ():
        if own != split and place.file(f"{around}/{SPLITS}") is not None:
            raise PromptSourceError(
                f"{place.name}: {around}/{SPLITS} makes {own!r} a split, which would be read as one of {split!r}; put "
                f"the data set {around} into a folder or repository of its own, and name it"
            )
    return chosen


def _splits(place: Place) -> dict[str, str] | None:
    """Return the folder of each split of a saved data set, with a `/` behind it; None if it was not saved so.

    `datasets` downloads the states of splits, but not `SPLITS`, so that the hub's cache may lack it.
    """
    kept = place.kept
    if kept is not None and not any(name.endswith(".arrow") for name in kept.names):
        return None
    state = place.file(STATE)
    if state is not None and _is_state(state):
        return {"train": ""}
    if kept is not None and SPLITS in kept.names and not kept.is_there(SPLITS):
        parts = [name.split("/") for name in kept.names]
        splits = {folder: f"{folder}/" for folder, *names in parts if names == [STATE]}
        if splits:
            return splits
    path = place.file(SPLITS)
    if path is None:
        return None
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["splits"]
        return {name: f"{name}/" for name in _plain(names)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise PromptSourceError(
            f"{path}: it does not say which splits the data set has ({type(error).__name__}); {_ADVICE}"
        ) from None


def _is_state(path: Path) -> bool:
    """Tell a state of a saved data set from a file of something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "_data_files" in content


def _named(state: Path) -> list[str] | None:
    """Return the names of the files that a state names; None if it is of something else."""
    try:
        content = json.loads(state.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "_data_files" not in content:
            return None
        return _plain([each["filename"] for each in content["_data_files"]])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise PromptSourceError(
            f"{state}: it does not say which files the data set has ({type(error).__name__}); {_ADVICE}"
        ) from None


def _plain(names: Any) -> list[str]:
    """Return names in a folder as they are.

    Raises:
        TypeError: these are no list of names.
        ValueError: there is none, or one is hidden, or leads to another folder.
    """
    if not isinstance(names, list):
        raise TypeError
    for name in names:
        if not isinstance(name, str):
            raise TypeError
        if name in ("", ".", "..") or Path(name).name != name or is_hidden(name):
            raise ValueError
    if not names:
        raise ValueError
    return list(names)
