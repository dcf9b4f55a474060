"""A lock that another process holds is named while it is waited for, whichever library waits."""

import fcntl
import gzip
import hashlib
import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from small_hub import COMMIT, small_hub

import datasets
from rsidiff_kedro.core import lock_waits
from rsidiff_kedro.core.hub import hub_file
from rsidiff_kedro.core.lock_waits import tell_lock_waits
from rsidiff_kedro.prompts.sources.hub import HubSource


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a download from a hub, and the lock that it takes."""
    with small_hub(tmp_path, monkeypatch) as hub:
        hub.commits[COMMIT] = {"config.json": b"{}"}
        lock = tmp_path / ".locks" / "models--owner--name" / f"{hashlib.sha1(b'{}').hexdigest()}.lock"
        lock.parent.mkdir(parents=True)
        yield lambda: Path(hub_file("owner/name", "config.json")).read_bytes() == b"{}", [lock]


@pytest.fixture
def data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a source of prompts that `datasets` has prepared once, and the locks that it takes."""
    with small_hub(tmp_path / "hub", monkeypatch) as hub:
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", huggingface_hub.constants.ENDPOINT)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        hub.commits[COMMIT] = {"train.jsonl.gz": gzip.compress(b'{"text": "a fox"}\n')}
        source = HubSource(dataset="owner/name", revision=COMMIT)
        source.collect(0)
        yield lambda: source.collect(0)["text"].tolist() == ["a fox"], list((tmp_path / "cache").rglob("*.lock"))


@pytest.mark.parametrize("waits", ["hub_cache", "data_set"])
def test_a_lock_is_named_again_and_again_until_it_is_free(
    waits: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(logging.getLogger("filelock"), "filters", [])
    tell_lock_waits()
    tell_lock_waits()
    load: Callable[[], bool]
    load, locks = request.getfixturevalue(waits)
    monkeypatch.setattr(lock_waits, "NOTICED", 0.1)
    monkeypatch.setattr(lock_waits, "AGAIN", 0.2)
    done: list[bool] = []
    with ExitStack() as held:
        for lock in locks:
            fcntl.flock(held.enter_context(lock.open("w", encoding="utf-8")), fcntl.LOCK_EX)
        waiting = threading.Thread(target=lambda: done.append(load()), daemon=True)
        waiting.start()
        end = time.monotonic() + 60
        while len(lines(caplog)) < 2:
            assert waiting.is_alive() and time.monotonic() < end
            time.sleep(0.02)
        assert not done
    waiting.join(60)
    assert done == [True]
    (named,) = {line.partition(" is held by another process")[0] for line in lines(caplog)}
    assert Path(named) in locks and all(f"`fuser {named}`" in line for line in lines(caplog))
    assert not [each for each in caplog.records if each.name == "filelock"]


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == lock_waits.__name__]


def test_a_short_wait_is_not_told_of_and_two_are_not_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    waits = lock_waits.LockWaits()
    values = {"msg": f"{lock_waits._WAITING}, waiting", "args": (1, "/x.lock"), "levelno": logging.DEBUG}
    record = logging.makeLogRecord(values)
    for moment in (0.0, 1.0, 2.0, 60.0, 61.0, 62.0, 63.0, 64.0):
        now[0] = moment
        record = logging.makeLogRecord(
            {"msg": f"{lock_waits._WAITING}, waiting", "args": (1, "/x.lock"), "levelno": 10}
        )
        assert not waits.filter(record)
    assert not lines(caplog)
    taken = logging.makeLogRecord({"msg": lock_waits._TAKEN, "args": (1, "/x.lock"), "levelno": 10})
    for other in (taken, record):  # the lock is had again and again, and each time waited for
        now[0] = 65.0
        assert not waits.filter(other)
    assert not lines(caplog)
    for moment in (66.0, 67.0, 68.0, 69.0, 70.0):
        now[0] = moment
        waits.filter(record)
    (line,) = lines(caplog)
    holder = "another process (`fuser /x.lock` shows its number)"
    assert line.startswith(f"/x.lock is held by {holder}; waiting for it since 5 seconds.")


def test_what_the_library_warns_of_is_shown() -> None:
    assert lock_waits.LockWaits().filter(logging.makeLogRecord({"msg": "x", "levelno": logging.WARNING}))
