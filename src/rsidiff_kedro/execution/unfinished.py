"""Keep what a step has finished of its outputs in a folder, from which the run after a killed one continues.

Each step has one folder, named by the step's key and the run's version, and locked by the process that works in it. A
long step asks for it (`unfinished_folder`) and hands it to the domain code as a plain argument.
"""

import logging
import shutil
import time
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path

from filelock import BaseFileLock

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.file_lock import held_by, is_locked, take_lock
from rsidiff_kedro.core.files import size_of

logger = logging.getLogger(__name__)

LOCK_NAME = ".lock"
PATIENCE = 1.0
"""Seconds for which a lock is tried."""
RUN = "run"
"""Takes the place of a step's key in the folder that marks a run as active."""


class UnfinishedError(InputError):
    """Unfinished work that another process uses, although it belongs to this run."""


class Unfinished:
    """The folder of one step, made when it is first asked for.

    Args:
        root: the folder of all such folders.
        key: of the step's outputs; see `Record.key`.
        version: of the outputs that this run makes.
        resume: continue in the folder with the most work that another run left for the same key, if there is one.
    """

    def __init__(self, root: Path, key: str, version: str, resume: bool) -> None:
        self._root, self._key, self._resume = root, key, resume
        self._lock: BaseFileLock | None = None
        self._folder = self._own = root / f"{key}_{version}"

    @property
    def folder(self) -> Path:
        """Return the folder, locked until this process ends or `remove` is called.

        Raises:
            UnfinishedError: another process holds the lock of this run's own folder.
        """
        if self._lock is None:
            left = sorted(self._root.glob(f"{self._key}_*"), key=_work, reverse=True) if self._resume else []
            self._lock = next(filter(None, map(self._acquire, [*left, self._own])))
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def _acquire(self, folder: Path) -> BaseFileLock | None:
        """Lock a folder and return the lock; return None if an active run holds it, or it is another user's.

        Whoever looks whether a lock is held takes it for a moment, so it is tried for a while.
        """
        end = time.monotonic() + PATIENCE
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                lock = take_lock(folder / LOCK_NAME)
            except PermissionError:
                if folder == self._own:
                    raise
                return None
            if lock is not None:
                self._folder = folder
                return lock
            if time.monotonic() > end:
                break
            time.sleep(0.02)
        holder = held_by(folder / LOCK_NAME)
        if folder == self._own:
            raise UnfinishedError(
                f"{folder / LOCK_NAME} is held by {holder}, but it is this run's own; end it, and start the run again"
            )
        logger.warning(
            f"{folder} has unfinished work of this step, which this run cannot continue: it is held by {holder}"
        )
        return None

    def release(self) -> None:
        """Let another run continue in the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def remove(self) -> None:
        """Delete the folder, once all outputs of the step are saved."""
        if self._lock is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self.release()


def _work(folder: Path) -> tuple[int, str]:
    """Order folders by the bytes of their finished parts, which grow with the work, and then by their age."""
    return sum(map(size_of, folder.glob("[!.]*"))), folder.name


def begin_run(root: Path, version: str) -> Unfinished:
    """Return a folder that is locked as long as a run is active; delete those of runs that were killed."""
    for folder in root.glob(f"{RUN}_*"):
        with suppress(OSError):  # another user's, or gone
            lock = take_lock(folder / LOCK_NAME)
            if lock is not None:  # and no run can begin in it meanwhile
                shutil.rmtree(folder, ignore_errors=True)
                lock.release()
    active = Unfinished(root, RUN, version, resume=False)
    _ = active.folder
    return active


_current: ContextVar[Unfinished | None] = ContextVar("unfinished", default=None)
set_unfinished = _current.set
"""Set where the step that runs now keeps unfinished work; None for nowhere."""


def unfinished_folder() -> Path | None:
    """Return the folder of the step that runs now; None outside a run, where nothing is kept."""
    unfinished = _current.get()
    return unfinished.folder if unfinished is not None else None


def is_in_use(folder: Path) -> bool:
    """Tell whether an active run works in a folder of unfinished work."""
    return is_locked(folder / LOCK_NAME)
