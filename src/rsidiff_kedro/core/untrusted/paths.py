"""Tell whether a file that others named lies in the folder that the user named."""

import os
import re
from pathlib import Path

_HUB_CACHE = re.compile(r"(?:datasets|models|spaces)--[^/]+")


def lies_inside(folder: Path, name: str) -> bool:
    """Tell whether a file exists in a folder or below it, with all links followed.

    `name` is absolute, or relative to the folder.
    A folder of the Hugging Face cache holds links into the folder `blobs` of the same repository, which count as
    inside.
    """
    try:
        inside, found = folder.resolve(), (folder / name).resolve()
    except (OSError, ValueError, RuntimeError):  # no name that a file can have, or a link to itself
        return False
    return os.path.isfile(found) and any(map(found.is_relative_to, (inside, *_stores(inside))))


def _stores(folder: Path) -> list[Path]:
    """Return where the Hugging Face cache keeps the files that a folder of it links to."""
    return [
        repository / "blobs"
        for repository, snapshots in zip(folder.parents[1:], folder.parents)
        if snapshots.name == "snapshots" and _HUB_CACHE.fullmatch(repository.name)
    ]
