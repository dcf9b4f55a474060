"""Refuse a second run while this process has one, as a server's next request: hooks keep what belongs to one run."""

import sys
import threading
from collections.abc import Generator
from types import CodeType
from typing import NamedTuple

from kedro.framework.hooks import hook_impl

from rsidiff_kedro.core.errors import InputError

_HERE = __name__.partition(".")[0]


class SecondRunError(InputError):
    """Two runs at once in one process, which would mix their records."""


class _Run(NamedTuple):
    """A run that began, by its thread and the function that called the hooks."""

    thread: threading.Thread
    function: CodeType

    def goes_on(self) -> bool:
        """Tell whether the function still runs; of one that is interrupted, as in a notebook, Kedro calls no hook."""
        if not self.thread.is_alive():  # another thread may have got its number
            return False
        frame = sys._current_frames().get(self.thread.ident or 0)
        while frame is not None and frame.f_code is not self.function:
            frame = frame.f_back
        return frame is not None


class OneRunHooks:
    """Let one thread at a time run; a thread that runs again has ended its earlier run, however that ended."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._begins: threading.Thread | None = None
        self._run: _Run | None = None

    @hook_impl(wrapper=True)
    def after_context_created(self) -> Generator[None, object, object]:
        """Note whose context the other hooks get.

        Raises:
            SecondRunError: another thread runs, and they need the context that they have.
        """
        with self._lock:
            self._check_run()
            self._begins = threading.current_thread()
            return (yield)

    @hook_impl(wrapper=True)
    def before_pipeline_run(self) -> Generator[None, object, object]:
        """Begin the run, unless a hook refuses it.

        Raises:
            SecondRunError: another thread runs, or has got a context since this one did.
        """
        with self._lock:
            self._check_run()
            if self._begins not in (None, threading.current_thread()):
                raise SecondRunError(
                    "while this run began, the process opened the project again, with parameters that may differ; "
                    "start the run again"
                )
            self._run = _Run(threading.current_thread(), _caller())
        try:
            return (yield)
        except BaseException:
            self._run = None
            raise

    @hook_impl(wrapper=True)
    def after_pipeline_run(self) -> Generator[None, object, object]:
        """End the run, once all other hooks have."""
        try:
            return (yield)
        finally:
            self._run = None

    @hook_impl(wrapper=True)
    def on_pipeline_error(self) -> Generator[None, object, object]:
        """End a run that has failed."""
        try:
            return (yield)
        finally:
            self._run = None

    def _check_run(self) -> None:
        if self._run is not None and self._run.thread is not threading.current_thread() and self._run.goes_on():
            raise SecondRunError("this process runs a pipeline already; wait for its end, or start another process")


def _caller() -> CodeType:
    """Return the function that has called the hooks."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].partition(".")[0] in (_HERE, "pluggy"):
        frame = frame.f_back
    return frame.f_code
