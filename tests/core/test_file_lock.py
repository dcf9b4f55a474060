"""Locks hold between processes, also where a file system refuses them or another user owns the file."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from another_host import HOST, refuse_locks
from another_user import as_another_user

from rsidiff_kedro.core.file_lock import held_by, is_locked, marked_by, take_lock

SOURCE = Path(__file__).parents[2] / "src"
REFUSING = "import errno, fcntl\ndef flock(*_): raise OSError(errno.{code}, 'refused')\nfcntl.flock = flock\n"
"""As `refuse_locks`, in a process of its own."""
ELSEWHERE = f"import socket\nsocket.gethostname = lambda: {HOST!r}\n"
HOLDER = """
import sys, time
{refusing}
sys.path.insert(0, {source!r})
from pathlib import Path
from rsidiff_kedro.core.file_lock import take_lock
lock = take_lock(Path({path!r}))
print("held", flush=True)
time.sleep(60)
"""


def hold(path: Path, refusing: str = "") -> subprocess.Popen[str]:
    """Hold a lock in a process of its own."""
    script = HOLDER.format(refusing=refusing, source=str(SOURCE), path=str(path))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, encoding="utf-8")
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("code", ["", "ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def test_a_lock_is_held_until_its_process_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    path = tmp_path / ".lock"
    path.touch()  # of an earlier run
    if code:
        refuse_locks(monkeypatch, getattr(errno, code))
    with hold(path, REFUSING.format(code=code) if code else "") as process:
        assert is_locked(path)
        assert held_by(path).startswith(f"process {process.pid} on the host " if code else "another process (`fuser ")
        before = time.monotonic()
        assert take_lock(path, timeout=0.3) is None
        assert 0.2 < time.monotonic() - before < 10
        process.send_signal(signal.SIGKILL)
    assert not is_locked(path)
    lock = take_lock(path, timeout=5)
    assert lock is not None
    assert is_locked(path)
    lock.release()
    assert not is_locked(path)


def test_a_lock_of_another_host_stays_until_its_marker_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, marker = tmp_path / ".lock", tmp_path / ".lock.held"
    refuse_locks(monkeypatch)
    with hold(path, REFUSING.format(code="ENOSYS") + ELSEWHERE) as process:
        process.kill()
    assert is_locked(path) and take_lock(path) is None
    said = rf"process {process.pid} on the host {re.escape(HOST)}\b.* since 20\d\d-\d\d-\d\d \d\d:\d\d UTC \(if it has "
    assert re.fullmatch(rf"{said}ended, delete {re.escape(str(marker))}\)", held_by(path))
    assert held_by(marker) == held_by(path)  # a library that waits for the marker itself knows no other path
    marker.unlink()
    assert not is_locked(path) and not marked_by(path)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"7\npod-0?pidns-f0000abc\n", "process 7 on the host pod-0, PID namespace f0000abc since 20"),
        (b"7\nred\x1b[31m\n", r"process 7 on the host red\x1b[31m since 20"),
        (b"", ""),
        (b"7\n", ""),
        (b"seven\nhost\n", ""),
        (b"\xff\nhost\n", ""),
    ],
)
def test_a_marker_is_shown_as_far_as_it_names_a_process(tmp_path: Path, written: bytes, shown: str) -> None:
    (tmp_path / ".lock.held").write_bytes(written)
    said = marked_by(tmp_path / ".lock")
    assert said.startswith(shown) and bool(said) == bool(shown)


@pytest.mark.parametrize("content", [b"", b"12", b"12\nhost", b"\0" * 20])
def test_a_marker_that_names_no_process_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    refuse_locks(monkeypatch)
    (tmp_path / ".lock.held").write_bytes(content)
    lock = take_lock(tmp_path / ".lock")
    assert lock is not None
    assert is_locked(tmp_path / ".lock")
    lock.release()
    assert not is_locked(tmp_path / ".lock")


def test_a_folder_that_goes_with_its_lock_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch)
    lock = take_lock(tmp_path / ".lock")
    assert lock is not None
    for path in tmp_path.iterdir():
        path.unlink()
    lock.release()


def test_any_other_error_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(IsADirectoryError):
        take_lock(tmp_path / ".lock")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_another_users_lock_is_seen_without_writing_it(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(0o755)
    for parent in [*tmp_path.parents][:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    path = tmp_path / ".lock"
    with hold(path) as process:
        path.chmod(mode)
        held = is_locked_for_another_user(path)
        process.kill()
    assert held
    assert is_locked_for_another_user(path) == (mode == 0o600)  # a file that nobody may look at counts as held


def is_locked_for_another_user(path: Path) -> bool:
    code = as_another_user(lambda: int(is_locked(path)))
    assert code in (0, 1)
    return bool(code)
