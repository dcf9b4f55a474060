"""Each run has a version of its own; other users, and what they left in the temporary folder, are in nobody's way."""

import os
import tempfile
import time
from pathlib import Path

import pytest

from rsidiff_kedro.hooks import versions
from rsidiff_kedro.hooks.versions import own_version

VERSION = "2030-01-01T00.00.00.000Z"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of claims, in a temporary folder of the test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"rsidiff_kedro_{os.getuid()}"


def claims(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*"))


def test_runs_of_one_millisecond_get_different_versions_and_leave_nothing(folder: Path) -> None:
    found = [own_version(Path("/project"), VERSION) for _ in range(3)]
    assert found[0] == VERSION
    assert len(set(found)) == 3
    assert own_version(Path("/other"), VERSION) == VERSION
    assert len({claim.parent for claim in claims(folder)}) == 2
    assert folder.stat().st_mode & 0o777 == 0o700
    for claim in claims(folder):
        versions._release(claim)
    assert not folder.exists()


def test_what_killed_runs_claimed_goes_after_a_day(folder: Path) -> None:
    own_version(Path("/project"), VERSION)
    (claim,) = claims(folder)
    own_version(Path("/other"), VERSION)
    assert claim in claims(folder)
    os.utime(claim, (time.time() - 90_000,) * 2)
    own_version(Path("/other"), "2030-01-01T00.00.00.001Z")
    assert claim not in claims(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_a_folder_that_another_user_has_made_is_not_used(folder: Path) -> None:
    folder.mkdir(0o777)
    os.chown(folder, 65534, 65534)
    assert own_version(Path("/project"), VERSION) == VERSION
    assert not claims(folder)


def test_neither_a_link_nor_a_file_in_its_place_stops_a_run(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    folder.symlink_to(tmp_path / "theirs")
    assert own_version(Path("/project"), VERSION) == VERSION
    assert not list((tmp_path / "theirs").iterdir())
    folder.unlink()
    folder.write_text("", encoding="utf-8")
    assert own_version(Path("/project"), VERSION) == VERSION


def test_no_temporary_folder_stops_no_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert own_version(Path("/project"), VERSION) == VERSION
