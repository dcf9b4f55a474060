"""Run the arms of a study: each arm and seed is an ordinary run in its own folder, which continues if it is killed.

What the steps' records vouch for is not run again, as long as what is measured of it is there.
"""

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.files import replacing
from rsidiff_kedro.core.untrusted.text import printable, without_credentials
from rsidiff_kedro.reporting.values import duration

LOG, PARAMETERS, LOCK = "log.txt", "parameters.yml", ".lock"
OWNER = "file.txt"
"""In a study's folder: the path of its file, from the project."""
SHARED = ("conf", "pyproject.toml", ".telemetry")
"""Files of the project that a run's folder links to."""
STEPS: dict[str, tuple[tuple[str, str | None], ...]] = {
    "rsi": (("rsi", None),),
    "sft": (("rsi", "rsi.round_0.metrics"), ("sft", None)),
}
"""The runs that an arm of each pipeline needs: a pipeline, and the output that ends it if it does not run to its end.

Supervised fine-tuning is compared with the base.
"""
LINES = 6
"""Last lines of a failed run's log that are shown."""
_SILENT = 5.0
"""Seconds that a run waits for another process before it says so."""


@dataclass(frozen=True)
class Job:
    """One arm with one seed.

    Attributes:
        arm: its name.
        seed: of the run.
        rounds: how many it has.
        folder: of the run.
        env: its environment; None for the default.
        params: in which it differs from it, as a tree, paths absolute.
        pipeline: a key of `STEPS`.
    """

    arm: str
    seed: int
    rounds: int
    folder: Path
    env: str | None
    params: Mapping[str, Any]
    pipeline: str = "rsi"

    @property
    def name(self) -> str:
        """Return the arm and the seed in words."""
        return f"{self.arm} seed {self.seed}"

    def commands(self) -> list[list[str]]:
        """Return the commands that make the run, or continue it."""
        kedro = [sys.executable, "-m", "kedro", "run", "--only-missing-outputs", f"--config={PARAMETERS}"]
        env = [f"--env={self.env}"] if self.env else []
        parts = (
            [f"--pipeline={name}", *([f"--to-outputs={last}"] if last else [])] for name, last in STEPS[self.pipeline]
        )
        return [[*kedro, *env, *options] for options in parts]


Run = Callable[[Job, Path], int]
"""Make a run, with a file for what it says, and return its exit code."""
Find = Callable[[Job], object]
"""Find what a run that came to its end has made; raise InputError if it is another, as one made by hand."""


def run_project(root: Path, begin: Callable[[Job], None], say: Callable[[str], None], stopped: threading.Event) -> Run:
    """Return what makes the runs of the project in a folder, as processes of one thread.

    Args:
        root: the folder.
        begin: plans a run that begins, which may have waited long; raises InputError if it is another.
        say: shows a line, where a run waits for another process.
        stopped: ends this waiting.
    """

    def run(job: Job, log: Path) -> int:
        paths = [str(root / "src"), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "MLFLOW_TRACKING_URI": f"sqlite:///{job.folder}/mlflow.db",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        with _locked(job.folder, say, stopped) as lock, log.open("w", encoding="utf-8") as written:
            begin(job)
            _prepare(job, root)
            for command in job.commands():
                # The process inherits the lock, so that it is held as long as the run lives, also without this one.
                ended = subprocess.run(
                    command, cwd=job.folder, env=environment, stdout=written, stderr=written, pass_fds=[lock]
                )
                if ended.returncode:
                    return ended.returncode
        return 0

    return run


def _prepare(job: Job, root: Path) -> None:
    """Make a run's folder a project that shares the configuration; Kedro wants a `src` in it."""
    (job.folder / "src").mkdir(parents=True, exist_ok=True)
    for name in SHARED:
        if (root / name).exists():
            _share(root / name, job.folder / name)
    with replacing(job.folder / PARAMETERS) as partial:
        text = yaml.safe_dump({"run": {"params": dict(job.params)}}, sort_keys=False, allow_unicode=True)
        partial.write_text(text, encoding="utf-8")


def _share(target: Path, link: Path) -> None:
    """Link to a file of the project; a link to another place is left from before the project was moved or copied.

    Raises:
        InputError: a file of its own is there, from which the run would read.
    """
    if link.is_symlink() and link.readlink() != target:
        link.unlink()
    if link.is_symlink() or (link.exists() and link.samefile(target)):
        return
    if link.exists():
        raise InputError(f"{link} is a copy of {target}, which the run would read in its place; remove it")
    link.symlink_to(target)


@contextmanager
def _locked(folder: Path, say: Callable[[str], None], stopped: threading.Event) -> Iterator[int]:
    """Wait until no process makes this run; yield the descriptor that holds its lock.

    Raises:
        CancelledError: the study was stopped meanwhile.
        InputError: another user's lock cannot be taken.
    """
    descriptor = _open_lock(folder / LOCK)
    try:
        begun, told = time.monotonic(), False
        while not _take(descriptor, folder / LOCK):
            if not told and time.monotonic() - begun > _SILENT:
                told = True
                lock = folder / LOCK
                say(f"{folder}: waiting for another process that makes this run; `fuser {lock}` shows its number")
            if stopped.wait(0.2):
                raise CancelledError
        yield descriptor
    finally:
        os.close(descriptor)


def _open_lock(path: Path) -> int:
    """Open a lock's file, which those may write who may write beside it; another user's own is only read.

    Raises:
        InputError: it cannot be read either, or there is none and none can be made.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError as error:
        with suppress(OSError):
            return os.open(path, os.O_RDONLY)
        raise _sealed(path) from error


def _take(descriptor: int, path: Path) -> bool:
    """Take a lock; tell whether no other process holds it.

    Raises:
        InputError: its file is only read, which is not enough for locks of a network's file system.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # a file system without locks
        if error.errno == errno.EBADF:
            raise _sealed(path) from error
        return True
    return True


def _sealed(path: Path) -> InputError:
    return InputError(f"{path}, the lock of a run, is closed to this user; open it and its folder (`chmod g+rwX`)")


def run_jobs(
    waiting: Sequence[Job],
    run: Run,
    find: Find,
    workers: int,
    say: Callable[[str], None],
    stopped: threading.Event,
) -> list[Job]:
    """Make runs, some side by side; say a line after each.

    Args:
        waiting: those that are not done.
        run: see `Run`.
        find: see `Find`.
        workers: how many at once.
        say: shows a line.
        stopped: is set where the study ends early, as by Ctrl-C.

    Returns:
        Those that failed.
    """
    failed: list[Job] = []
    left, begun, rounds = sum(job.rounds for job in waiting), time.monotonic(), 0
    with ThreadPoolExecutor(workers) as pool:
        running = {pool.submit(_finish, job, run, find): job for job in waiting}
        try:
            for number, future in enumerate(as_completed(running), start=1):
                job, (problem, seconds) = running[future], future.result()
                rounds += job.rounds
                expected = (time.monotonic() - begun) / rounds * (left - rounds)
                rest = f", about {duration(expected)} left" if number < len(waiting) else ""
                what = f"FAILED after {duration(seconds)}" if problem else f"done in {duration(seconds)}"
                say(f"{job.name}: {what} ({number} of {len(waiting)}{rest})")
                if problem:
                    failed.append(job)
                    say(problem)
        except BaseException:  # also Ctrl-C: begin no further run
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


def _finish(job: Job, run: Run, find: Find) -> tuple[str, float]:
    """Make a run, and look for what it made; return why it failed, if it did, and its seconds."""
    begun, log = time.monotonic(), job.folder / LOG
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        code = run(job, log)
        if not code:
            find(job)
    except (InputError, OSError) as error:
        return f"  {printable(str(error))}", time.monotonic() - begun
    problem = f"  exit code {code}; {log} ends with\n{_last_lines(log)}" if code else ""
    return problem, time.monotonic() - begun


def _last_lines(log: Path) -> str:
    with log.open(encoding="utf-8", errors="replace") as lines:
        last = deque((line for line in lines if line.strip()), maxlen=LINES)
    return "\n".join(f"  {printable(without_credentials(line))}" for line in last)


def check_owner(folder: Path, file: Path, root: Path) -> None:
    """Check that a study's folder is not that of another file, which has the same name in another place.

    Args:
        folder: of the study.
        file: of the study.
        root: of the project.

    Raises:
        InputError: it is, and that file exists, or lies in a folder that is closed to this user.
    """
    try:
        text = os.fsdecode((folder / OWNER).read_bytes())
    except FileNotFoundError:
        return
    owner = Path(os.path.normpath(root.resolve() / text))
    try:
        if not owner.is_file() or owner.samefile(file):
            return
        advice = "remove that file if it is the same study, or rename this one"
    except OSError as error:  # such as another user's home, or a file that is not there
        advice = f"it cannot be looked at ({error.strerror}): rename this file"
    raise InputError(f"{folder} holds the runs of the study {owner}, which has the same name as {file}; {advice}")


def own(folder: Path, file: Path, root: Path) -> None:
    """Note that a folder is that of a study's file; see `check_owner`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = os.fsencode(os.path.relpath(file.resolve(), root.resolve()))
    with suppress(FileNotFoundError):
        if (folder / OWNER).read_bytes() == text:
            return
    with replacing(folder / OWNER) as partial:
        partial.write_bytes(text)


def check_data(data: str) -> None:
    """Check that runs in folders of their own do not share the folder of all datasets.

    Raises:
        InputError: they would.
    """
    if Path(data).is_absolute() or ".." in Path(data).parts:
        raise InputError(
            f"'data' in globals.yml is {data!r}, which all runs of the study would share; name a folder in the project"
        )
