"""Recognize what git-lfs leaves in place of a file that it has not downloaded."""

from pathlib import Path

POINTER = "a git-lfs pointer, not the file itself; run `git lfs pull` there"
_STARTS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")


def is_pointer(path: Path) -> bool:
    """Tell whether a file is such a pointer; one that cannot be read is none."""
    try:
        with path.open("rb") as file:
            return file.read(max(map(len, _STARTS))).startswith(_STARTS)
    except (OSError, ValueError):
        return False
