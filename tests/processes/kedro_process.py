"""`kedro` as a process of its own that is forked: importing the libraries anew takes as long as a small run.

One process of this test session, multiprocessing's fork server, imports the libraries and nothing of Kedro or of this
project. Each `kedro` is forked from it, as real as one that a shell starts: it has its own memory, exit code, output
and signals, and ends as any Python does. One thread, without a network.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

LIBRARIES = (
    "diffusers.loaders.peft",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "dynaconf",
    "filelock",
    "ftfy",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.tracking",
    "omegaconf",
    "pandas",
    "peft",
    "plotly.graph_objects",
    "pyarrow.parquet",
    "pydantic",
    "scipy.stats",
    "sklearn.covariance",
    "sklearn.metrics",
    "torch._dynamo",
    "torch.utils.data",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
)
"""What a run imports; one that is missing is imported by each run."""
SERVER = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
"""What libraries read from the environment when they are imported."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(list(LIBRARIES))


class KedroProcess:
    """A running `kedro`, with those members of subprocess.Popen that tests use; its two streams are one.

    Args:
        folder: the project's, its working directory.
        arguments: of `kedro`.
        environment: all of its environment variables.
        prelude: Python to execute first, as a sitecustomize.py would be.
    """

    def __init__(
        self, folder: Path, arguments: Sequence[str], environment: Mapping[str, str], prelude: str = ""
    ) -> None:
        reader, writer = _context.Pipe(duplex=False)
        given = (writer, str(folder), list(arguments), dict(environment), prelude)
        self._process = _context.Process(target=_serve, args=given)
        with _environment(SERVER):
            forkserver.ensure_running()
        self._process.start()
        writer.close()
        self.stdout = os.fdopen(os.dup(reader.fileno()), encoding="utf-8", errors="replace")
        reader.close()
        self.pid: int = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Return what it says until its end; a process that takes longer is killed."""
        watch = threading.Timer(timeout or threading.TIMEOUT_MAX, self._process.kill)
        watch.daemon = True
        watch.start()
        try:
            output = self.stdout.read()
            self._process.join()
        finally:
            watch.cancel()
        return output, None

    def __enter__(self) -> "KedroProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not None:
            self._process.kill()
        self._process.join()
        self.stdout.close()


@contextmanager
def _environment(changes: Mapping[str, str]):
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _serve(output: Connection, *given: Any) -> None:
    try:
        become_kedro(output.fileno(), *given)
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends without them


def become_kedro(
    output: int, folder: str, arguments: Sequence[str], environment: Mapping[str, str], prelude: str = ""
) -> None:
    """Go on as `python -m kedro`; ends with SystemExit.

    Args:
        output: the file descriptor of both streams.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test session in the background has it ignored
    os.dup2(output, 1)
    os.dup2(output, 2)
    # The server's own streams know what they were opened on: a file of pytest's, which can be sought.
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, folder)
    sys.argv = ["kedro", *arguments]
    exec(prelude, {})
    runpy.run_module("kedro", run_name="__main__", alter_sys=True)
