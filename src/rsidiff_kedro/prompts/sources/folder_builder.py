"""Have `datasets` choose the reader of a folder's files."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets


def folder_builder(folder: Path, config_name: str | None, names: Iterable[str] | None = None) -> Any:
    """Return the reader that `datasets` chooses for the files of a folder, which can stream them.

    `datasets` chooses by their names, and takes the folder's path for a pattern. So where that holds `[`, `?` or `*`,
    and where files may be missing, it is shown a folder of links, with an empty file for each that is not there.
    The reader's `config.data_files` are paths in the folder.

    Args:
        folder: with an absolute path, if names are None.
        names: of the files that the folder should have; None for those that it has.

    Raises:
        OSError, ValueError, RuntimeError: `datasets` cannot read it.
        BadZipFile: an archive in it is none.
    """
    if names is None and glob.escape(str(folder)) != str(folder):
        names = _names(folder)
    with TemporaryDirectory() as place:
        prepared = str(Path(place, "prepared"))  # what is only streamed needs no place that lasts
        if names is None:
            return datasets.load_dataset_builder(str(folder), config_name, cache_dir=prepared)
        shown = Path(place).resolve() / "files"
        shown.mkdir()
        for name in names:
            (shown / name).parent.mkdir(parents=True, exist_ok=True)
            if os.path.exists(folder / name):
                (shown / name).symlink_to(os.path.abspath(folder / name))
            else:
                (shown / name).touch()
        try:
            builder = datasets.load_dataset_builder(str(shown), config_name, cache_dir=prepared)
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            raise ValueError(str(error).replace(str(shown), str(folder))) from None
        chosen = (builder.config.data_files or {}).items()
        builder.config.data_files = {
            split: [str(folder / os.path.relpath(path, shown)) for path in paths] for split, paths in chosen
        }
    return builder


def _names(folder: Path) -> Iterator[str]:
    """Yield the names of all files in a folder, and of links to folders, relative to it; links to nothing are none."""
    for place, folders, files in os.walk(folder):
        for name in [*files, *(each for each in folders if os.path.islink(Path(place, each)))]:
            if os.path.exists(path := Path(place, name)):
                yield os.path.relpath(path, folder)
