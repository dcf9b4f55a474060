"""Write files that are never half written under their own name."""

import errno
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

from rsidiff_kedro.core.errors import InputError

VERSION = re.compile(r"\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d\.\d{3}Z")
"""A version of a dataset: the time at which its run began."""
_NAMED = 100
"""Bytes of a file's name that the name of its unfinished content repeats."""


def age(version: str) -> tuple[bool, str]:
    """Return a key that sorts versions from old to new; a folder with another name, such as a copy, comes first."""
    return VERSION.fullmatch(version) is not None, version


def partial_path(path: Path) -> Path:
    """Return a path beside another one, for content that is not whole yet; nothing else has its name.

    The name begins with a dot, ends with `.partial`, and is no longer than names may be, whatever the other's length.
    """
    begin = os.fsdecode(os.fsencode(path.name)[:_NAMED]).encode("utf-8", "ignore").decode()
    return path.with_name(f".{begin}.{uuid.uuid4().hex[:8]}.partial")


@contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to `path` at the end, or remove it after an error.

    The content reaches the disk before the name does, so a power cut leaves no half-written file under the name;
    without `sync` it may, and whoever reads the file must find out.
    """
    partial = partial_path(path)
    try:
        yield partial
        if sync:
            with partial.open("rb+") as written:
                os.fsync(written.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.filename == str(partial):  # a name that nobody gave
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):
            partial.unlink()


def check_writable(folder: Path) -> None:
    """Make and remove a file in a folder, or in the nearest one above it that exists, before work is done for it.

    Raises:
        InputError: that fails, or the folder's own name, or one of those to be made above it, is too long.
    """
    _check_names(folder)
    place = _existing(folder)
    if not place.is_dir():
        raise InputError(f"{place} is no folder, so nothing can be written into {folder}; name another place")
    try:
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise InputError(
            f"{place} cannot be written ({error.strerror or error}); make it writable for this user (`chmod u+w`, a "
            "group's `chmod g+w`), free space or inodes if there are none (`df -h`, `df -i`), or name another place"
        ) from error


def check_can_make(path: Path) -> None:
    """Check that a file can be made at a path, in place of an earlier one, before work is done for it.

    Raises:
        InputError: a folder lies there, its name is too long, or `check_writable` says so of its folder.
    """
    _check_names(path)
    check_writable(path.parent)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file")


def _existing(path: Path) -> Path:
    """Return a path, or the nearest one above it that exists."""
    wanted = path.absolute()
    return next(each for each in (wanted, *wanted.parents) if os.path.lexists(each))


def _check_names(path: Path) -> None:
    """Raise InputError if a name that is to be made for a path, or the whole path, is longer than may be."""
    place = _existing(path)
    for each in (path, *(place / name for name in path.absolute().relative_to(place).parts)):
        try:
            os.lstat(each)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise InputError(f"{each} is too long a name for its file system; name a shorter one") from error


def share(path: Path) -> None:
    """Let those read and write a file whom the umask lets; safetensors writes files for this user alone."""
    umask = os.umask(0o077)
    os.umask(umask)
    with suppress(OSError):  # a file system whose files belong to somebody else
        path.chmod(0o666 & ~umask)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, which takes no space; copy it where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        with replacing(target) as partial:
            shutil.copyfile(source, partial)


def delete(path: Path) -> None:
    """Delete a file or a folder, if it exists, but nothing that lies behind a link.

    Raises:
        OSError: it cannot be deleted, or is a link to something.
    """
    if path.is_symlink() and path.exists():
        raise OSError(f"a link to {path.resolve()}, and nothing is deleted there: delete that yourself, then the link")
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size_text(size: float) -> str:
    """Write a number of bytes in MB or GB."""
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.1f} MB"


FileId = tuple[int, int]
"""Of a file, also under several names: its device and inode."""


def files_of(path: Path) -> Iterator[tuple[FileId, os.stat_result]]:
    """Yield a file, or each file in a folder, once per name; what is not there, or vanishes meanwhile, is left out."""
    inside = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    for each in chain([str(path)], inside):
        with suppress(OSError):
            found = os.stat(each)
            if stat.S_ISREG(found.st_mode):
                yield (found.st_dev, found.st_ino), found


def size_of(path: Path, counted: set[FileId] | None = None) -> int:
    """Return the bytes of a file or of all files in a folder; 0 if it does not exist.

    A file with several names counts once, and not at all if it is among `counted`, to which the found files are added.
    """
    known = set() if counted is None else counted
    total = 0
    for file, found in files_of(path):
        total += found.st_size if file not in known else 0
        known.add(file)
    return total
