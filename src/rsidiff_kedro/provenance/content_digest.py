"""Digest files and folders: those that a parameter names, and those that a step saved."""

import errno
import hashlib
import math
import os
import re
from functools import cache
from pathlib import Path

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.hub import commit_of
from rsidiff_kedro.core.locations import Found, Location
from rsidiff_kedro.core.untrusted.paths import is_hidden

RUN_FACTS = re.compile(rb"<!--run-->.*?<!--/run-->", re.DOTALL)
"""Part of a page about the run that made it, such as its times; it differs between runs of the same results."""

PRUNED = "pruned.txt"
"""Marks a folder whose large files `kedro rsi prune` has deleted."""


_SMALL, _SMALL_IN_FOLDER = 64_000_000, 1_000_000
"""Bytes; a network's gigabytes are not read for a fingerprint."""
_SAMPLES, _SAMPLE_SIZE = 256, 4096
_MOST_FILES = 100_000
_PACKAGE = Path(__file__).parents[1]


def content_of(found: Found, asks_hub: bool = True, times: bool = True) -> str | None:
    """Tell the content of a location, for the keys of steps and the records of adapters alike.

    Args:
        found: whose path is absolute, as `located` makes it.
        asks_hub: whether the commit of a hub id is asked for.
        times: see `fingerprint`.

    Returns:
        The commit of a hub id, else the fingerprint of a file or folder, joined by + with those of the files that are
        read with it. None if it is unknown, or decides no result.
    """
    mark = found.mark
    if not isinstance(mark, Location) or not mark.content:
        return None
    shipped = mark.shipped(str(found.value)) if mark.shipped is not None else None
    if shipped is not None:
        return _of_package(shipped) if shipped.is_relative_to(_PACKAGE) else fingerprint(shipped, times, mark.hidden)
    place = Path(found.value)
    if not place.is_absolute():
        return commit_of(str(found.value), found.revision, mark.hub) if asks_hub else None
    try:
        if not place.exists():
            return None
        names = mark.beside if place.is_file() else ()
        beside = dict.fromkeys(each for name in names for each in sorted(place.parent.glob(name)) if each != place)
        files = [each for each in beside if each.is_file()]
    except OSError:  # such as a name that is too long; what opens it says so
        return None
    return "+".join(fingerprint(each, times, mark.hidden) for each in [place, *files])


def fingerprint(path: Path, times: bool = True, hidden: bool = False) -> str:
    """Return 12 hex digits for the content of a file or a folder.

    Up to 64 MB count by their content. In larger folders, files of more than 1 MB count by size, time of change and
    samples of their content, because copies and unpacked archives keep times, and so do larger files.
    Links are followed, see `_entries`.

    Args:
        path: of the file or folder.
        times: whether times of change count. Without them a copy that has its own times is the same.
        hidden: whether hidden files in a folder count, which no loader of this package reads.

    Raises:
        InputError: a folder holds more than 100,000 files.
    """
    if path.is_file() and path.stat().st_size <= _SMALL:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    digest = hashlib.sha256()
    entries = _entries(path, _MOST_FILES, hidden)
    whole = sum(entry.stat().st_size for entry in entries) <= _SMALL
    for entry in entries:
        stat = entry.stat()
        large = entry.is_file() and stat.st_size > _SMALL_IN_FOLDER and not whole
        changed = f"{stat.st_mtime_ns} " if times else ""
        value = f"{stat.st_size} {changed}{_samples(entry, stat.st_size)}" if large else _content(entry, path)
        digest.update(_line(entry.relative_to(path), value))
    return digest.hexdigest()[:12]


_of_package = cache(fingerprint)
"""Of what comes with this package, which does not change while a process runs."""


def _samples(file: Path, size: int) -> str:
    """Return a digest of 256 blocks at equal distances, the first and the last included."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        for number in range(_SAMPLES):
            opened.seek(number * (size - _SAMPLE_SIZE) // (_SAMPLES - 1))
            digest.update(opened.read(_SAMPLE_SIZE))
    return digest.hexdigest()


def content_digest(path: Path) -> str:
    """Return 16 hex digits of the SHA-256 of every byte of a file, or of a folder's files with their names.

    Hidden files and folders in a folder do not count, nor do `PRUNED` and `RUN_FACTS` of an HTML page.

    Raises:
        FileNotFoundError: nothing lies there, as of data in a bucket, whose path has lost its protocol.
    """
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    digest = hashlib.sha256()
    for entry in _entries(path):
        if entry == path or entry.name != PRUNED:
            digest.update(_line(entry.relative_to(path), _content(entry, path)))
    return digest.hexdigest()[:16]


def _content(file: Path, root: Path) -> str:
    if file.is_dir():
        return f"link to {os.path.relpath(os.path.realpath(file), os.path.realpath(root))}"
    if file.suffix == ".html":
        return hashlib.sha256(RUN_FACTS.sub(b"", file.read_bytes())).hexdigest()
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _line(path: Path, value: str) -> bytes:
    return f"{path.as_posix()} {value}\n".encode(errors="surrogateescape")


def _entries(path: Path, most: float = math.inf, hidden: bool = False) -> list[Path]:
    """List a file, or all files in a folder and in the folders that its links lead to, each folder once.

    A folder that another link has led to, or a link to a folder around `path`, is an entry itself. Without `hidden`,
    hidden files and folders are left out; `path` itself may be one.
    """
    if path.is_file():
        return [path]

    def counts(name: str) -> bool:
        return hidden or not is_hidden(name)

    root = os.path.realpath(path)
    found, entered = list[Path](), {root}
    for folder, names, files in os.walk(path, followlinks=True):
        new = []
        for name in filter(counts, sorted(names)):
            target = os.path.realpath(os.path.join(folder, name))
            if target in entered or Path(root).is_relative_to(target):
                found.append(Path(folder, name))
            else:
                entered.add(target)
                new.append(name)
        names[:] = new
        found += (each for name in filter(counts, files) if (each := Path(folder, name)).is_file())
        if len(found) > most:
            raise InputError(
                f"{str(path)!r} holds more than {most:,} files, with those that its links lead to (the last in "
                f"{folder!r}); name a folder that holds only what is needed, or remove the link"
            )
    return sorted(found)
