"""Where a step keeps what it has finished of its outputs, so that a killed run goes on from there.

A folder a step, named by the step's key and the run's version, and locked by the process that works in it. A long
step asks for it (`unfinished_folder`) and hands it to the domain code, which takes it as a plain argument.
"""

import shutil
from contextvars import ContextVar
from pathlib import Path

from filelock import FileLock, Timeout

LOCK_NAME = ".lock"
RUN = "run"
"""In the place of a step's key: what says that a run is active."""


class Unfinished:
    """The folder of one step, made when it is first asked for.

    Args:
        root: where such folders lie.
        key: of the step's outputs; see `Record.key`.
        version: of the outputs that this run makes.
        resume: go on in a folder that another run left for the same key; else, or if there is none, in a new one.
    """

    def __init__(self, root: Path, key: str, version: str, resume: bool) -> None:
        self._root, self._key, self._version, self._resume = root, key, version, resume
        self._lock: FileLock | None = None
        self._folder = root / f"{key}_{version}"

    @property
    def folder(self) -> Path:
        """The folder, locked until this process ends or `remove` is called."""
        if self._lock is None:
            left = sorted(self._root.glob(f"{self._key}_*"), reverse=True) if self._resume else []
            self._lock = next((lock for folder in left if (lock := self._acquire(folder))), None)
            self._lock = self._lock or self._acquire(self._folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def _acquire(self, folder: Path) -> FileLock | None:
        """The lock of a folder, unless a run that is alive holds it."""
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_NAME)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        self._folder = folder
        return lock

    def release(self) -> None:
        """Let another run go on in the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def remove(self) -> None:
        """Delete the folder: all outputs of the step are saved."""
        if self._lock is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self.release()


def begin_run(root: Path, version: str) -> Unfinished:
    """A folder that is locked as long as a run is active; those of runs that were killed go."""
    for folder in root.glob(f"{RUN}_*"):
        if not is_in_use(folder):
            shutil.rmtree(folder, ignore_errors=True)
    active = Unfinished(root, RUN, version, resume=False)
    _ = active.folder
    return active


_current: ContextVar[Unfinished | None] = ContextVar("unfinished", default=None)


def set_unfinished(unfinished: Unfinished | None) -> None:
    """Say where the step that runs now keeps what it has finished; None: nowhere."""
    _current.set(unfinished)


def unfinished_folder() -> Path | None:
    """The folder of the step that runs now; None outside a run, where nothing is kept."""
    unfinished = _current.get()
    return unfinished.folder if unfinished is not None else None


def is_in_use(folder: Path) -> bool:
    """Whether a run that is alive works in a folder of unfinished work."""
    try:
        with FileLock(folder / LOCK_NAME, timeout=0):
            return False
    except Timeout:
        return True
