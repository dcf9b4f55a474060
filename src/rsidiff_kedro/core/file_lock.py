"""Lock files, also where a file system refuses locks and where another user owns the file."""

import errno
import fcntl
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from rsidiff_kedro.core.untrusted.text import printable

_REFUSED = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""Errors of a file system that has no locks, such as a network one without a lock server."""
MARKER = ".held"
"""Suffix of the file that stands for a lock there: it names its process, and goes with it.

A process that is killed leaves it. On its own host the next one replaces it; another host cannot know whether the
process still runs, so there it stays until a user deletes it.
"""
_OTHER_CONTAINER = "?pidns-"
"""What filelock writes between a container's host name and the number of its PID namespace."""
_WATCH = 3.0
"""Seconds for which a marker that names no process is watched."""


def take_lock(path: Path, timeout: float = 0) -> BaseFileLock | None:
    """Return the lock of a file, held until its `release()` or the end of this process; None if others hold it.

    Args:
        path: of the file, which is made if it does not exist.
        timeout: seconds to wait for it.

    Raises:
        OSError: the file cannot be made or written.
    """
    try:
        return _acquire(FileLock(path, fallback_to_soft=False), timeout)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
    marker = path.with_name(path.name + MARKER)
    lock = SoftFileLock(marker)
    return _acquire(lock, timeout) or (_replace_torn(lock, marker) if lock.pid is None else None)


def _replace_torn(lock: SoftFileLock, marker: Path) -> BaseFileLock | None:
    """Take a marker that names no process, as a power cut or a full disk leaves it, unless its process is just begun.

    filelock itself replaces one that it watched for two seconds, but not an empty one, which old versions of it wrote.
    """
    with suppress(OSError), marker.open("r+b") as torn:  # of another user, or gone
        taken = _acquire(lock, _WATCH)
        if taken is None and not os.fstat(torn.fileno()).st_size:
            torn.write(b"torn\n")
            torn.flush()
            taken = _acquire(lock, _WATCH)
        return taken
    return _acquire(lock, 0)


def _acquire(lock: BaseFileLock, timeout: float) -> BaseFileLock | None:
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        return None
    return lock


def is_locked(path: Path) -> bool:
    """Tell whether a process that is alive holds the lock of a file; where nobody may look, say so."""
    try:
        lock = take_lock(path)
    except OSError:  # another user's file, or a full or read-only disk
        return _is_locked_for_readers(path)
    if lock is not None:
        lock.release()
    return lock is None


def held_by(path: Path) -> str:
    """Say who holds the lock of a file, and how to find or free it, in words that follow "is held by"."""
    return marked_by(path) or f"another process (`fuser {path}` shows its number)"


def marked_by(path: Path) -> str:
    """Say which process holds a lock by a marker, which is doubtful on another host; "" if there is no marker.

    Args:
        path: of the lock, or of the marker itself: other libraries write one in place of a lock.
    """
    for marker in (path.with_name(path.name + MARKER), path):
        with suppress(OSError, ValueError), marker.open("rb") as file:
            number, host, *_ = file.read(1024).decode().splitlines()
            since = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
            host = printable(host.replace(_OTHER_CONTAINER, ", PID namespace "))
            return (
                f"process {int(number)} on the host {host} since {since:%Y-%m-%d %H:%M} UTC (if it has ended, delete "
                f"{marker})"
            )
    return ""


def _is_locked_for_readers(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # held, or refused
        return True
    finally:
        os.close(descriptor)
    return False
