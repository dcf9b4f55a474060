"""Writing files as a whole, and giving a file a second name."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from rsidiff_kedro.core import files
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.files import check_can_make, check_writable, link_or_copy, replacing, size_of


def test_a_file_is_replaced_only_when_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert partial.parent == tmp_path
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [["a.txt"], []])
def test_after_an_error_nothing_of_the_new_file_is_left(
    tmp_path: Path, error: type[BaseException], before: list[str]
) -> None:
    path = tmp_path / "a.txt"
    for name in before:
        (tmp_path / name).write_text("old")
    with pytest.raises(error), replacing(path) as partial:
        partial.write_text("half")
        raise error
    assert os.listdir(tmp_path) == before
    assert [(tmp_path / name).read_text() for name in before] == ["old"] * len(before)


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as one, replacing(path) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"  # which ended last
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "a" + "é" * 127, "日" * 85, "b" * 237 + ".png"], ids=len)
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path, name: str) -> None:
    for folder in (tmp_path, tmp_path / "new"):
        check_can_make(folder / name)
    with replacing(tmp_path / name) as partial:
        partial.write_text("new")
        (left,) = os.listdir(tmp_path)
        assert left.startswith(f".{name[:30]}") and left.endswith(".partial") and left.isprintable()
    assert os.listdir(tmp_path) == [name] and (tmp_path / name).read_text() == "new"


@pytest.mark.parametrize(
    "name", ["a" * 256, "é" * 128, f"new/{'a' * 256}", f"new/{'a' * 256}/x.png", "a/" * 2100 + "x"]
)
def test_a_name_that_is_too_long_is_refused_before_work_is_done_for_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is too long a name for its file system; name a shorter one"):
        check_can_make(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_writer_that_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a.txt"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_second_name_takes_no_space(tmp_path: Path) -> None:
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    source.write_bytes(b"pixels")
    link_or_copy(source, target)
    assert target.read_bytes() == b"pixels"
    assert target.samefile(source)
    source.unlink()
    assert target.read_bytes() == b"pixels"


def test_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "1").write_bytes(b"12345")
    (tmp_path / "a" / "2").write_bytes(b"123")
    os.link(tmp_path / "a" / "1", tmp_path / "b" / "1")
    counted: set[files.FileId] = set()
    assert (size_of(tmp_path / "a"), size_of(tmp_path / "b"), size_of(tmp_path)) == (8, 5, 8)
    assert (size_of(tmp_path / "a", counted), size_of(tmp_path / "b", counted)) == (8, 0)
    assert size_of(tmp_path / "b" / "1") == 5 and size_of(tmp_path / "none") == 0


def test_what_vanishes_while_it_is_counted_counts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kept", "gone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"12345")
    state = os.stat

    def vanishes(path: object, **options: bool) -> os.stat_result:
        if Path(str(path)) == tmp_path / "gone" / "file":
            raise FileNotFoundError(path)
        return state(path, **options)

    monkeypatch.setattr(os, "stat", vanishes)
    monkeypatch.setattr(os.path, "isfile", lambda path: True)  # as it was a moment before
    assert size_of(tmp_path / "kept") + size_of(tmp_path / "gone") == 5


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second file system")
def test_a_file_is_copied_to_another_file_system(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(b"pixels")
    target = Path("/dev/shm") / f"{tmp_path.name}-{os.getpid()}.png"
    if os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("needs a second file system")
    try:
        link_or_copy(source, target)
        assert target.read_bytes() == b"pixels"
        assert not target.samefile(source)
    finally:
        target.unlink(missing_ok=True)


def test_a_copy_that_ends_half_way_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object) -> None:
        raise PermissionError(1, "no hard links here")

    def half(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:3])
        raise OSError(28, "No space left on device")

    source, target = tmp_path / "a.png", tmp_path / "b.png"
    source.write_bytes(b"pixels")
    monkeypatch.setattr(os, "link", no_link)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(shutil, "copyfile", half)
        link_or_copy(source, target)
    assert os.listdir(tmp_path) == ["a.png"]
    link_or_copy(source, target)
    assert target.read_bytes() == b"pixels"


def test_a_source_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        link_or_copy(tmp_path / "none", tmp_path / "b")
    assert os.listdir(tmp_path) == []


def test_the_content_reaches_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: [done.append("content"), fsync(number)])
    monkeypatch.setattr(os, "replace", lambda old, new: [done.append("name"), replace(old, new)])
    with replacing(tmp_path / "a.txt") as partial:
        partial.write_text("new", encoding="utf-8")
    assert done == ["content", "name"]


@pytest.mark.parametrize("name", ["nowhere/a.txt", "a" * 300])
def test_an_error_names_the_file_that_was_asked_for(tmp_path, name):
    with pytest.raises(OSError) as caught, replacing(tmp_path / name) as partial:
        partial.write_text("a")
    assert caught.value.filename == str(tmp_path / name)


def test_where_a_file_can_be_made_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_text("old")
    for path in (tmp_path / "old.png", tmp_path / "new.png", tmp_path / "a" / "b" / "new.png"):
        check_can_make(path)
    assert os.listdir(tmp_path) == ["old.png"] and (tmp_path / "old.png").read_text() == "old"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("folder", "/folder is a folder; name a file"),
        ("file/new/x.png", "/file is no folder, so nothing can be written into"),
        ("link/x.png", "/link is no folder, so nothing can be written into"),
    ],
)
def test_what_lies_where_a_file_should_is_named(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(InputError, match=says):
        check_can_make(tmp_path / name)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(dir: Path) -> None:
        raise OSError(number, os.strerror(number), str(dir))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputError, match=rf"{tmp_path} cannot be written \({os.strerror(number)}\); make it writable"):
        check_writable(tmp_path / "new" / "folder")
