"""Unfinished work goes on in the run after, and never in two runs at once."""

import fcntl
import logging
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from another_host import HOST, hold_elsewhere

from rsidiff_kedro.execution import unfinished
from rsidiff_kedro.execution.unfinished import (
    LOCK_NAME,
    RUN,
    Unfinished,
    UnfinishedError,
    begin_run,
    is_in_use,
    set_unfinished,
    unfinished_folder,
)


def leave(root: Path, version: str, text: str = "half") -> None:
    """A run that was killed after it had written a file."""
    left = Unfinished(root, "key", version, resume=False)
    (left.folder / "work").write_text(text)
    left.release()


@pytest.mark.parametrize(("first", "second", "taken"), [("old", "new", "new"), ("much", "new", "much"), ("", "n", "n")])
def test_a_resuming_run_goes_on_where_most_is_done_of_its_key_and_then_in_the_newest(
    tmp_path: Path, first: str, second: str, taken: str
) -> None:
    leave(tmp_path, "1", first)
    leave(tmp_path, "2", second)
    (tmp_path / "key_2" / ".work.1.partial").write_text("a part that was never whole")
    folder = Unfinished(tmp_path, "key", "3", resume=True).folder
    assert (folder / "work").read_text() == taken
    assert not (Unfinished(tmp_path, "other", "4", resume=True).folder / "work").exists()


def test_a_run_that_starts_anew_does_not(tmp_path: Path) -> None:
    leave(tmp_path, "1")
    assert not (Unfinished(tmp_path, "key", "2", resume=False).folder / "work").exists()


def test_two_live_runs_never_share_a_folder(tmp_path: Path) -> None:
    leave(tmp_path, "1")
    holds = (
        "import sys; from pathlib import Path; from rsidiff_kedro.execution.unfinished import Unfinished;"
        "held = Unfinished(Path(sys.argv[1]), 'key', '2', resume=True); print(held.folder.name, flush=True);"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", holds, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8") as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "key_1"
        assert is_in_use(tmp_path / "key_1")
        mine = Unfinished(tmp_path, "key", "3", resume=True)
        assert mine.folder.name == "key_3"
        mine.release()
        other.kill()  # without a chance to say goodbye
    assert not is_in_use(tmp_path / "key_1")
    assert Unfinished(tmp_path, "key", "4", resume=True).folder.name in ("key_1", "key_3")


def held(folder: Path, seconds: float) -> threading.Timer:
    """Hold the lock of a folder for a while, as whoever looks at it does."""
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    timer = threading.Timer(seconds, os.close, [descriptor])
    timer.start()
    return timer


@pytest.mark.parametrize("resume", [False, True])
def test_a_look_at_its_lock_leaves_no_run_without_it(tmp_path: Path, resume: bool) -> None:
    timer = held(tmp_path / "key_2", 0.2)
    mine = Unfinished(tmp_path, "key", "2", resume)
    assert mine.folder == tmp_path / "key_2" and is_in_use(mine.folder)
    timer.join()
    mine.remove()
    assert not list(tmp_path.iterdir())


def test_a_run_whose_own_folder_stays_locked_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "PATIENCE", 0.1)
    timer = held(tmp_path / "run_2", 1)
    with pytest.raises(UnfinishedError, match=r"run_2/\.lock is held by another .*, but it is this run's own; end it"):
        begin_run(tmp_path, "2")
    timer.join()


def test_work_that_another_host_seems_to_hold_is_left_with_advice_which_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unfinished, "PATIENCE", 0.01)
    leave(tmp_path, "1")
    marker = hold_elsewhere(tmp_path / "key_1" / LOCK_NAME, monkeypatch)
    interrupted = Unfinished(tmp_path, "key", "2", resume=True)
    assert interrupted.folder.name == "key_2"
    interrupted.release()
    (said,) = {record.getMessage() for record in caplog.records if record.levelno == logging.WARNING}
    assert said.startswith(f"{tmp_path}/key_1 has unfinished work of this step, which this run cannot continue: ")
    assert f"held by process {os.getpid()} on the host {HOST}" in said
    assert said.endswith(f"(if it has ended, delete {marker})")
    marker.unlink()
    assert Unfinished(tmp_path, "key", "3", resume=True).folder.name == "key_1"


def test_a_killed_runs_folder_is_locked_while_it_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Unfinished(tmp_path, RUN, "1", resume=False).folder  # noqa: B018
    (tmp_path / "run_2").mkdir()
    remove, locked = shutil.rmtree, []
    monkeypatch.setattr(shutil, "rmtree", lambda path, **more: [locked.append(is_in_use(path)), remove(path, **more)])
    active = begin_run(tmp_path, "3")
    assert locked and all(locked) and not (tmp_path / "run_2").exists()
    active.remove()


def test_what_is_finished_leaves_nothing(tmp_path: Path) -> None:
    done = Unfinished(tmp_path, "key", "1", resume=True)
    (done.folder / "work").write_text("all")
    done.remove()
    assert not list(tmp_path.iterdir())


def test_a_step_that_asks_for_no_folder_makes_none(tmp_path: Path) -> None:
    Unfinished(tmp_path, "key", "1", resume=True).remove()
    assert not list(tmp_path.iterdir())


def test_outside_a_run_nothing_is_kept(tmp_path: Path) -> None:
    assert unfinished_folder() is None
    set_unfinished(Unfinished(tmp_path, "key", "1", resume=True))
    assert unfinished_folder() == tmp_path / "key_1"
    set_unfinished(None)
    assert unfinished_folder() is None
