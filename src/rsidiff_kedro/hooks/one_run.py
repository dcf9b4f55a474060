"""Refuse a second run while this process has one, as a server's next request: hooks keep what belongs to one run."""

import threading
from collections.abc import Generator

from kedro.framework.hooks import hook_impl

from rsidiff_kedro.core.errors import InputError


class SecondRunError(InputError):
    """Two runs at once in one process, which would mix their records."""


class OneRunHooks:
    """Let one thread at a time run; a thread that runs again has ended its earlier run, however that ended."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._begins: threading.Thread | None = None
        self._runs: threading.Thread | None = None

    @hook_impl(wrapper=True)
    def after_context_created(self) -> Generator[None, object, object]:
        """Note whose context the other hooks get.

        Raises:
            SecondRunError: another thread runs, and they need the context that they have.
        """
        with self._lock:
            self._check(self._runs)
            self._begins = threading.current_thread()
            return (yield)

    @hook_impl(wrapper=True)
    def before_pipeline_run(self) -> Generator[None, object, object]:
        """Begin the run, unless a hook refuses it.

        Raises:
            SecondRunError: another thread runs, or has got a context since this one did.
        """
        with self._lock:
            self._check(self._runs)
            self._check(self._begins)
            self._runs = threading.current_thread()
        try:
            return (yield)
        except BaseException:
            self._runs = None
            raise

    @hook_impl(wrapper=True)
    def after_pipeline_run(self) -> Generator[None, object, object]:
        """End the run, once all other hooks have."""
        try:
            return (yield)
        finally:
            self._runs = None

    @hook_impl(wrapper=True)
    def on_pipeline_error(self) -> Generator[None, object, object]:
        """End a run that has failed."""
        try:
            return (yield)
        finally:
            self._runs = None

    def _check(self, thread: threading.Thread | None) -> None:
        if thread is not None and thread is not threading.current_thread() and thread.is_alive():
            raise SecondRunError("this process runs a pipeline already; wait for its end, or start another process")
