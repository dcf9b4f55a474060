"""Hold locks as a process of another host does, on a file system that refuses locks."""

import errno
import fcntl
import socket
from pathlib import Path

import pytest

from rsidiff_kedro.core.file_lock import MARKER, take_lock

HOST = "node-a.cluster"


def refuse_locks(patch: pytest.MonkeyPatch, code: int = errno.ENOLCK) -> None:
    """A file system without locks cannot be mounted here, so the system call refuses in its place."""

    def refuse(*_: object) -> None:
        raise OSError(code, "refused")

    patch.setattr(fcntl, "flock", refuse)


def hold_elsewhere(path: Path, patch: pytest.MonkeyPatch) -> Path:
    """Leave the marker of a lock that a process of another host took; return it."""
    refuse_locks(patch)
    with patch.context() as there:
        there.setattr(socket, "gethostname", lambda: HOST)
        lock = take_lock(path)
    assert lock is not None
    marker = path.with_name(path.name + MARKER)
    content = marker.read_bytes()
    lock.release()
    marker.write_bytes(content)
    return marker
