"""Recognise full disks and missing memory in the errors that libraries raise, and say what to do."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator

from rsidiff_kedro.core.errors import InputError

GO_ON = "what is finished is kept, and the same command with --only-missing-outputs continues"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_NO_FOLDER = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP)
_BROKEN = (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN)
_TOO_MANY = (errno.EMFILE, errno.ENFILE)


class OutOfMemory(InputError):
    """A step needs more memory than the machine, or its limit, has."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory of the host or of a GPU ran out."""
    kinds = (MemoryError, getattr(sys.modules.get("torch"), "OutOfMemoryError", MemoryError))
    said = ("can't allocate memory", os.strerror(errno.ENOMEM))
    return any(isinstance(each, kinds) or any(text in str(each) for text in said) for each in causes(error))


def disk_fault(error: BaseException, go_on: str = f": {GO_ON}") -> str | None:
    """Say what to do if a disk is full, fails or cannot be used, or has another kind of file there; else None.

    An InputError says itself what is wrong with a file, so of its causes only the machine's own faults are told.
    `go_on` follows on what can be mended.
    """
    for each in causes(error):
        number = each.errno if isinstance(each, OSError) else None
        if number in _FULL or any(os.strerror(code) in str(each) for code in _FULL):
            return (
                f"the disk is full or has no free inodes ({each}); `df -h` and `df -i` say which; delete some files "
                f"(`kedro rsi runs` shows what runs take, `kedro rsi prune` what could go){go_on}"
            )
        if number in _BROKEN:
            return f"the disk or the network file system fails ({each}); check it{go_on}"
        if number in _TOO_MANY:
            return f"too many files are open ({each}); allow more (`ulimit -n 4096`){go_on}"
        if isinstance(error, InputError):
            continue
        if number in _REFUSED or os.strerror(errno.EROFS) in str(each):
            return f"a file cannot be read or written ({each}); make the file readable and its folder writable{go_on}"
        if number == errno.ENAMETOOLONG:
            return f"a path is longer than the file system allows ({each}); give a shorter one"
        if number in _NO_FOLDER and each in (error, error.__cause__):
            return f"a file or a link to nothing lies where a folder belongs, or a folder for a file ({each}); move it"
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what it came from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def exit_on_termination() -> None:
    """Let SIGTERM, and the end of the terminal, end the process as an exit does, so that everything is closed.

    Keep handlers of others, and `nohup`.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) is signal.SIG_DFL:
            signal.signal(ending, lambda number, frame: sys.exit(128 + number))
