"""Errors of disks that a user can fix are told in one line, and no others."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.hooks.failures import disk_fault


def below_a_file(folder: Path) -> None:
    (folder / "data").write_bytes(b"")
    (folder / "data" / "test").mkdir(parents=True)


def over_a_link_to_nothing(folder: Path) -> None:
    (folder / "data").symlink_to("nowhere")
    (folder / "data").mkdir(exist_ok=True)


def a_folder_as_a_file(folder: Path) -> None:
    folder.read_bytes()


def through_a_circle(folder: Path) -> None:
    (folder / "data").symlink_to("data")
    (folder / "data" / "test").write_bytes(b"")


@pytest.mark.parametrize("do", [below_a_file, over_a_link_to_nothing, a_folder_as_a_file, through_a_circle])
def test_another_kind_of_file_in_the_way_is_told(tmp_path: Path, do: Callable[[Path], None]) -> None:
    with pytest.raises(OSError) as caught:
        do(tmp_path)
    assert f"a file or a link to nothing lies where a folder belongs, or a folder for a file ({caught.value})" in str(
        disk_fault(caught.value)
    )


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "the disk is full or has no free inodes"),
        (errno.EROFS, "make the file readable and its folder writable"),
        (errno.EACCES, "a file cannot be read or written"),
        (errno.ENAMETOOLONG, "longer than the file system allows"),
        (errno.EIO, "the disk or the network file system fails"),
        (errno.ESTALE, "the disk or the network file system fails"),
        (errno.EMFILE, "too many files are open"),
    ],
)
def test_what_a_disk_refuses_is_told_also_as_the_cause_of_a_librarys_error(number: int, says: str) -> None:
    error = OSError(number, os.strerror(number), "/data/x")
    outer = RuntimeError("not saved")
    outer.__cause__ = error
    assert says in str(disk_fault(error)) and says in str(disk_fault(outer))


@pytest.mark.parametrize(
    ("number", "replaced"),
    [(errno.ENOSPC, True), (errno.EIO, True), (errno.EMFILE, True)]
    + [(number, False) for number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG)],
)
def test_only_a_fault_of_the_machine_replaces_what_an_input_error_says(number: int, replaced: bool) -> None:
    error = InputError("config.json is no CLIPConfig; give one")
    error.__cause__ = OSError(number, os.strerror(number), "/data/config.json")
    assert (disk_fault(error) is not None) == replaced


def test_an_error_after_a_handled_one_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(KeyError) as caught:
        try:
            tmp_path.mkdir()
        except FileExistsError:
            {}["a mistake in the code"]
    assert disk_fault(caught.value) is None
