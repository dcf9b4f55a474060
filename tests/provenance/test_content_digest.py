"""Digests of files and folders."""

from pathlib import Path

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


def test_a_single_changed_byte_deep_in_a_folder_is_seen(tmp_path: Path) -> None:
    image = tmp_path / "images" / "a.png"
    image.parent.mkdir()
    image.write_bytes(b"1234")
    before = content_digest(tmp_path)
    assert content_digest(tmp_path) == before
    image.write_bytes(b"1235")
    assert content_digest(tmp_path) != before


def test_a_renamed_file_changes_its_folders_digest_and_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    folder, file = content_digest(tmp_path), content_digest(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert content_digest(tmp_path) != folder
    assert content_digest(tmp_path / "b") == file
