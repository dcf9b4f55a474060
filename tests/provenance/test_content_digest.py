"""Digests of files and folders."""

import os
from pathlib import Path

import pytest

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.provenance.content_digest import content_digest, fingerprint


def test_a_changed_file_has_another_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("a red circle")
    before = fingerprint(path)
    assert fingerprint(path) == before
    path.write_text("a red square")
    assert fingerprint(path) != before


def test_a_folder_has_another_fingerprint_when_a_file_comes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = fingerprint(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"1")
    assert fingerprint(tmp_path) != before


@pytest.mark.parametrize("root", ["model", ".cache/hub/models--owner--name/snapshots/1"])
@pytest.mark.parametrize("name", [".DS_Store", "unet/._w", ".cache/huggingface/download/w.metadata", ".git/index"])
def test_hidden_files_of_a_folder_are_no_content_of_it(tmp_path: Path, root: str, name: str) -> None:
    model = tmp_path / root
    (model / "unet").mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (tmp_path / ".blob").write_bytes(b"1")
    (model / "unet" / "w").symlink_to(tmp_path / ".blob")
    assert (fingerprint(model), content_digest(model)) == ("719bcc181b2d", "719bcc181b2d1cb6")
    (model / name).parent.mkdir(parents=True, exist_ok=True)
    (model / name).write_bytes(b"1")
    assert (fingerprint(model), content_digest(model)) == ("719bcc181b2d", "719bcc181b2d1cb6")
    (tmp_path / ".blob").write_bytes(b"2")
    assert fingerprint(model) != "719bcc181b2d"


@pytest.mark.parametrize("name", [".huggingface.yaml", ".file"])
def test_a_hidden_file_that_is_read_counts(tmp_path: Path, name: str) -> None:
    """A data set's description in its folder, and any file whose path a setting gives."""
    found = set()
    for content in (b"1", b"2"):
        (tmp_path / name).write_bytes(content)
        found.add(fingerprint(tmp_path if name == ".huggingface.yaml" else tmp_path / name))
    assert len(found) == 2


def test_a_single_changed_byte_deep_in_a_folder_is_seen(tmp_path: Path) -> None:
    image = tmp_path / "images" / "a.png"
    image.parent.mkdir()
    image.write_bytes(b"1234")
    before = content_digest(tmp_path)
    assert content_digest(tmp_path) == before
    image.write_bytes(b"1235")
    assert content_digest(tmp_path) != before


def test_what_is_not_there_has_no_content(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        content_digest(tmp_path / "nowhere")
    assert content_digest(tmp_path) == "e3b0c44298fc1c14"  # an empty folder is there


def test_a_renamed_file_changes_its_folders_digest_and_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    folder, file = content_digest(tmp_path), content_digest(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert content_digest(tmp_path) != folder
    assert content_digest(tmp_path / "b") == file


def test_a_linked_folder_counts_as_if_it_lay_there_and_its_change_is_seen(tmp_path: Path) -> None:
    model, disk, copy = tmp_path / "model", tmp_path / "disk", tmp_path / "copy"
    for folder in (model, disk, copy / "unet"):
        folder.mkdir(parents=True)
    for folder in (disk, copy / "unet"):
        (folder / "weights").write_bytes(b"1")
    (model / "unet").symlink_to(disk, target_is_directory=True)
    before = (fingerprint(model), content_digest(model))
    assert content_digest(model) == content_digest(copy)
    (disk / "weights").write_bytes(b"12")
    assert fingerprint(model) != before[0]
    assert content_digest(model) != before[1]


def test_links_in_a_circle_and_links_to_nothing_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"1")
    for name in ("up", "a/up", "a/b"):
        (tmp_path / name).symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "nothing").symlink_to(tmp_path / "nowhere")
    assert content_digest(tmp_path) == content_digest(tmp_path)
    before = fingerprint(tmp_path)
    (tmp_path / "a" / "file").write_bytes(b"12")
    assert fingerprint(tmp_path) != before


@pytest.mark.parametrize("name", ["file", "."])
@pytest.mark.parametrize("size", [10, 1_000_000, 1_000_001, 65_000_000])
def test_another_file_of_the_same_size_and_time_is_seen(tmp_path: Path, name: str, size: int) -> None:
    """As `cp -p`, `rsync -t` and archives leave it, when they replace a model by one of the same shape."""
    found = set()
    for letter in (b"a", b"b"):
        (tmp_path / "file").write_bytes(letter * size)
        os.utime(tmp_path / "file", (1e9, 1e9))
        found.add(fingerprint(tmp_path / name))
    assert len(found) == 2


def test_one_letter_of_a_file_of_prompts_in_a_folder_is_seen(tmp_path: Path) -> None:
    content, found = bytearray(b"a red fox\n" * 500_000), set()
    for place in (0, 1_234_567):
        content[place : place + 1] = b"A"
        (tmp_path / "prompts.txt").write_bytes(content)
        os.utime(tmp_path / "prompts.txt", (1e9, 1e9))
        found.add(fingerprint(tmp_path))
    assert len(found) == 2


@pytest.mark.parametrize("place", [0, 2_500_000, 4_999_999])
def test_a_large_file_that_differs_in_a_hundredth_is_seen(tmp_path: Path, place: int) -> None:
    """Although the folder has more than is read."""
    content, found, part = bytearray(5_000_000), set(), slice(max(0, place - 25_000), place + 25_000)
    (tmp_path / "other").touch()
    os.truncate(tmp_path / "other", 65_000_000)
    for value in (0, 1):
        content[part] = bytes([value]) * len(content[part])
        (tmp_path / "file").write_bytes(content)
        os.utime(tmp_path / "file", (1e9, 1e9))
        found.add(fingerprint(tmp_path))
    assert len(found) == 2


def test_times_of_large_files_tell_models_apart_only_where_they_count(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.truncate(tmp_path / "file", 65_000_000)
    found = []
    for seconds in (1e9, 2e9):
        os.utime(tmp_path / "file", (seconds, seconds))
        found.append((fingerprint(tmp_path), fingerprint(tmp_path, times=False)))
    (one, same), (other, again) = found
    assert one != other and same == again


@pytest.mark.parametrize("target", ["inside", "../outside"])
def test_a_link_to_a_folder_that_was_entered_before_counts_itself(tmp_path: Path, target: str) -> None:
    model = tmp_path / "model"
    for folder in (model / "inside", tmp_path / "outside"):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"1")
    (model / "second").symlink_to(target, target_is_directory=True)
    (model / "third").symlink_to(target, target_is_directory=True)
    before = (fingerprint(model), content_digest(model))
    (model / "third").unlink()
    assert fingerprint(model) != before[0]
    assert content_digest(model) != before[1]


def test_a_link_to_a_folder_around_is_not_entered(tmp_path: Path) -> None:
    model = tmp_path / "a" / "model"
    model.mkdir(parents=True)
    (model / "up").symlink_to(tmp_path, target_is_directory=True)
    before = fingerprint(model)
    (tmp_path / "file").write_bytes(b"1")
    assert fingerprint(model) == before


def test_a_link_to_a_huge_tree_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsidiff_kedro.provenance.content_digest._MOST_FILES", 9)
    (tmp_path / "tree").mkdir()
    for number in range(9):
        (tmp_path / "tree" / str(number)).write_bytes(b"1")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "link").symlink_to(tmp_path / "tree", target_is_directory=True)
    fingerprint(tmp_path / "model")
    (tmp_path / "model" / "file").write_bytes(b"1")
    with pytest.raises(InputError, match="holds more than 9 files"):
        fingerprint(tmp_path / "model")


def test_what_a_page_says_of_its_run_is_no_content(tmp_path: Path) -> None:
    page = tmp_path / "report.html"

    def digest(text: str) -> str:
        page.write_text(text)
        return content_digest(page)

    first = digest("<p>0.8</p><!--run--><p>3 s</p><!--/run--><p>end</p><!--run-->a<!--/run-->")
    assert digest("<p>0.8</p><!--run--><p>4 s\n</p><!--/run--><p>end</p><!--run-->b<!--/run-->") == first
    assert digest("<p>0.9</p><!--run--><p>3 s</p><!--/run--><p>end</p><!--run-->a<!--/run-->") != first
