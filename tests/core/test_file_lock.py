"""Locks hold between processes, also where a file system refuses them or another user owns the file."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from another_user import as_another_user

from rsidiff_kedro.core.file_lock import is_locked, take_lock

SOURCE = Path(__file__).parents[2] / "src"
REFUSING = "import errno, fcntl\ndef flock(*_): raise OSError(errno.{code}, 'refused')\nfcntl.flock = flock\n"
"""A file system without locks cannot be mounted here, so the system call refuses in its place."""
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

        def refuse(*_: object) -> None:
            raise OSError(getattr(errno, code), "refused")

        monkeypatch.setattr(fcntl, "flock", refuse)
    with hold(path, REFUSING.format(code=code) if code else "") as process:
        assert is_locked(path)
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


@pytest.mark.parametrize("content", [b"", b"12", b"12\nhost", b"\0" * 20])
def test_a_marker_that_names_no_process_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "refused")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / ".lock.held").write_bytes(content)
    lock = take_lock(tmp_path / ".lock")
    assert lock is not None
    assert is_locked(tmp_path / ".lock")
    lock.release()
    assert not is_locked(tmp_path / ".lock")


def test_a_folder_that_goes_with_its_lock_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "refused")

    monkeypatch.setattr(fcntl, "flock", refuse)
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
