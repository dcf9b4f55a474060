"""Say which lock is waited for, whichever library waits; all of them take locks by `filelock`."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from rsidiff_kedro.core.file_lock import held_by

logger = logging.getLogger(__name__)

NOTICED = 5.0
"""Seconds for which a lock is waited for before that is said."""
AGAIN = 60.0
"""Seconds after which it is said again."""
_PAUSE = 2.0
"""Seconds between two tries of a lock that are not of one wait; filelock tries many times a second."""
_WAITING, _TAKEN = "Lock %s not acquired on %s", "Lock %s acquired on %s"
"""How filelock's messages begin about a try and its success, with the lock's number and path."""


@dataclass
class _Wait:
    began: float
    tried: float
    told: float


class LockWaits(logging.Filter):
    """Take the debug messages of the logger `filelock`, show none of them, and warn of each long wait."""

    def __init__(self) -> None:
        super().__init__()
        self._waits: dict[tuple[object, str], _Wait] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message is to be shown."""
        if record.levelno > logging.DEBUG:
            return True
        if isinstance(record.args, tuple) and len(record.args) > 1:
            lock, path = record.args[0], str(record.args[1])
            if str(record.msg).startswith(_TAKEN):
                self._waits.pop((lock, path), None)
            elif str(record.msg).startswith(_WAITING):
                self._note(lock, path)
        return False

    def _note(self, lock: object, path: str) -> None:
        now = time.monotonic()
        wait = self._waits.get((lock, path))
        if wait is None or now - wait.tried > _PAUSE:
            wait = self._waits[lock, path] = _Wait(began=now, tried=now, told=now - AGAIN + NOTICED)
        wait.tried = now
        if now - wait.told >= AGAIN:
            wait.told = now
            logger.warning(
                f"{path} is held by {held_by(Path(path))}; waiting for it since {now - wait.began:.0f} seconds. If "
                "that process hangs, end it."
            )


def tell_lock_waits() -> None:
    """Say from now on, in this process, which lock is waited for: after 5 seconds, and then every minute."""
    library = logging.getLogger("filelock")
    if not any(isinstance(each, LockWaits) for each in library.filters):
        library.addFilter(LockWaits())
    library.setLevel(logging.DEBUG)
