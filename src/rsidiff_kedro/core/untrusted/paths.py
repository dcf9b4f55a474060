"""Tell whether a file that others named lies in the folder that the user named, and is not hidden."""

import os
import re
from pathlib import Path

_HUB_CACHE = re.compile(r"(?:datasets|models|spaces)--[^/]+")
_SHARED_STORE = ".huggingface-shared-blobs"
"""The file by which the cache's client knows the folder of the files that repositories share."""
_READ_HIDDEN = ".huggingface.yaml"
"""The only hidden file of a folder that is read: it says which files of a data set are."""


def is_hidden(name: str) -> bool:
    """Tell whether a path in a folder is one of those that nothing reads: a name in it begins with a dot.

    Downloads, version control and file managers leave such files and folders, and change them.
    """
    return any(part.startswith(".") and part not in (".", "..", _READ_HIDDEN) for part in Path(name).parts)


def lies_inside(folder: Path, name: str) -> bool:
    """Tell whether a file exists in a folder or below it, with all links followed, and has no hidden name there.

    `name` is absolute, or relative to the folder.
    A folder of the Hugging Face cache holds links into the folder `blobs` of the same repository, and those may lead to
    the store of all repositories of the cache. Both count as inside.
    """
    try:
        inside, found = folder.resolve(), (folder / name).resolve()
    except (OSError, ValueError, RuntimeError):  # no name that a file can have, or links in a circle
        return False
    if not os.path.isfile(found) or not any(map(found.is_relative_to, (inside, *_stores(inside)))):
        return False
    named = os.path.relpath(folder / name, folder)
    return not is_hidden(os.path.relpath(found, inside) if named.startswith("..") else named)


def _stores(folder: Path) -> list[Path]:
    """Return where the Hugging Face cache keeps the files that a folder of it links to.

    Since version 2.4 its client keeps what lies in Xet, as large files do, once for all repositories.
    """
    repositories = [
        repository
        for repository, snapshots in zip(folder.parents[1:], folder.parents)
        if snapshots.name == "snapshots" and _HUB_CACHE.fullmatch(repository.name)
    ]
    shared = [repository.parent / "blobs" for repository in repositories]
    return [each / "blobs" for each in repositories] + [each for each in shared if (each / _SHARED_STORE).is_file()]
