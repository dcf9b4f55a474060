"""Tell, without the network, which files of a data set of the hub are in the hub's cache."""

import os
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from rsidiff_kedro.core.hub import kept_files
from rsidiff_kedro.prompts.sources.folder_builder import folder_builder
from rsidiff_kedro.prompts.sources.source import PromptSourceError

_SHOWN = 3


@dataclass(frozen=True)
class Kept:
    """The part of a data set that the hub's cache has.

    Attributes:
        folder: of the files that are there.
        names: of all files that the data set has, relative to the folder.
        load: the command that downloads them all.
    """

    folder: Path
    names: tuple[str, ...]
    load: str

    def is_there(self, name: str) -> bool:
        """Tell whether a file, named relative to the folder or by its path there, is in the cache."""
        return os.path.isfile(self.folder / name)

    def check(self, names: Iterable[str]) -> None:
        """Raise PromptSourceError if one of the files is not in the cache."""
        missing = [os.path.relpath(self.folder / name, self.folder) for name in names if not self.is_there(name)]
        if missing:
            raise PromptSourceError(
                f"{self.folder}: {len(missing)} of the data set's files were not downloaded ({_first(missing)}), and "
                f"the hub is not reached; load the whole data set once with the network: {self.load}"
            )


def kept_data_set(name: str, revision: str | None) -> Kept:
    """Return what the hub's cache has of a data set at a revision.

    Raises:
        PromptSourceError: the cache does not say which files the data set has.
        OSError: it has none of them.
    """
    folder, names = kept_files(name, revision, "dataset")
    folder = Path(os.path.abspath(folder))  # as `datasets` names its files
    load = f"`hf download {name} --repo-type dataset --revision {folder.name}`"
    if names is None:
        there = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        raise PromptSourceError(
            f"{folder}: the hub's cache does not say whether these are all files of the data set ({_first(there)}), "
            f"and the hub is not reached; load the whole data set once with the network: {load}"
        )
    outside = [each for each in names if os.path.isabs(each) or ".." in Path(each).parts]
    if outside:
        raise PromptSourceError(f"{folder}: the hub names the file {outside[0]!r}, which is none; use another data set")
    return Kept(folder, names, load)


def kept_builder(kept: Kept, config_name: str | None) -> Any:
    """Return the reader that `datasets` chooses for all files of a data set, of which some may not be there.

    Its `config.data_files` are paths in the folder of the cache.

    Raises:
        PromptSourceError: the description of the data set is not there, or an archive that has to be opened.
        OSError, ValueError, RuntimeError, BadZipFile: `datasets` cannot read it.
    """
    described = (
        datasets.config.REPOCARD_FILENAME,
        datasets.config.REPOYAML_FILENAME,
        datasets.config.DATASETDICT_INFOS_FILENAME,
    )
    kept.check(each for each in kept.names if each in described)
    try:
        return folder_builder(kept.folder, config_name, kept.names)
    except zipfile.BadZipFile:
        kept.check(each for each in kept.names if each.endswith(".zip"))
        raise


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
