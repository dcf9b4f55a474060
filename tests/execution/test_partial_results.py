"""Finished shards are found again as they were kept, and damaged or other ones are computed again."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rsidiff_kedro.core.image_set import ImageFiles
from rsidiff_kedro.execution.partial_results import PartialResults

NAMES = ["images/a.png", "images/b.png"]
VALUES = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def pictures() -> list[Image.Image]:
    return [Image.new("RGB", (4, 4), (50 * number, 10, 20)) for number in (1, 2)]


def pixels(images) -> list[list[int]]:
    return [np.asarray(image).ravel().tolist() for image in images]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with one finished shard of two images."""
    PartialResults(tmp_path).save("first", VALUES, NAMES, pictures())
    return tmp_path


def test_a_shard_is_found_again_with_its_images(folder: Path) -> None:
    kept = PartialResults(folder)
    found = kept.load("first", 2, NAMES)
    assert found is not None and torch.equal(found, VALUES)
    assert isinstance(kept.images, ImageFiles)
    assert pixels(kept.images) == pixels(pictures())


def test_what_was_saved_and_what_was_found_are_the_same_images(tmp_path: Path) -> None:
    saved = PartialResults(tmp_path)
    saved.save("first", VALUES, NAMES, pictures())
    found = PartialResults(tmp_path)
    found.load("first", 2, NAMES)
    assert list(saved.images.paths) == list(found.images.paths) == [tmp_path / name for name in NAMES]


def test_images_are_in_the_order_of_the_calls_whether_found_or_saved(folder: Path) -> None:
    kept = PartialResults(folder)
    kept.save("second", VALUES[:1], ["images/c.png"], [Image.new("RGB", (4, 4), "white")])
    kept.load("first", 2, NAMES)
    assert [path.name for path in kept.images.paths] == ["c.png", "a.png", "b.png"]


def test_an_unknown_shard_is_computed(folder: Path) -> None:
    assert PartialResults(folder).load("second", 2) is None


@pytest.mark.parametrize("count", [1, 3])
def test_a_shard_of_another_size_is_computed_again(folder: Path, count: int) -> None:
    assert PartialResults(folder).load("first", count) is None


@pytest.mark.parametrize("name", [*NAMES, "first.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"\x00" * 40, "half", "zeros at its end"])
def test_a_shard_that_is_damaged_is_computed_again_and_then_found(folder: Path, name: str, content) -> None:
    path = folder / name
    whole = path.read_bytes()
    path.unlink()
    if content is not None:
        kept_part = whole[: len(whole) // 2] if content == "half" else whole[:-4] + bytes(4)
        path.write_bytes(kept_part if isinstance(content, str) else content)
    kept = PartialResults(folder)
    assert kept.load("first", 2, NAMES) is None
    assert len(kept.images) == 0
    kept.save("first", VALUES, NAMES, pictures())
    again = PartialResults(folder)
    assert torch.equal(again.load("first", 2, NAMES), VALUES)
    assert pixels(again.images) == pixels(kept.images) == pixels(pictures())


def test_the_values_are_written_after_the_images(tmp_path: Path) -> None:
    """A shard whose images cannot all be written must not look complete."""
    with pytest.raises(ValueError):
        PartialResults(tmp_path).save("first", VALUES, NAMES, pictures()[:1])
    assert PartialResults(tmp_path).load("first", 2, NAMES) is None


def test_only_whole_files_appear(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"first.safetensors", "images"}


@pytest.mark.parametrize("key", ["my_rewards:Sharpness_0", "a/b_0", "../escape_0", "with space_0"])
def test_any_key_names_a_file_in_the_folder(tmp_path: Path, key: str) -> None:
    folder = tmp_path / "unfinished"
    folder.mkdir()
    PartialResults(folder).save(key, VALUES)
    assert torch.equal(PartialResults(folder).load(key, 2), VALUES)
    assert len(list(folder.iterdir())) == 1
    assert list(tmp_path.iterdir()) == [folder]


def test_similar_keys_do_not_share_a_file(tmp_path: Path) -> None:
    keys = ["a_b:c_0", "a:b_c_0", "a_b_c_0", "a.b:c_0", "a.b.c_0"]
    kept = PartialResults(tmp_path)
    for number, key in enumerate(keys):
        kept.save(key, torch.tensor([float(number)]))
    assert [PartialResults(tmp_path).load(key, 1).item() for key in keys] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_values_that_are_a_view_are_kept_as_they_look(tmp_path: Path) -> None:
    view = torch.arange(12.0).reshape(3, 4).T[1:3]
    PartialResults(tmp_path).save("first", view)
    assert torch.equal(PartialResults(tmp_path).load("first", 2), view)


def test_without_a_folder_everything_stays_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept, images = PartialResults(None), pictures()
    assert kept.load("first", 2, NAMES) is None
    kept.save("first", VALUES, NAMES, images)
    assert kept.load("first", 2, NAMES) is None
    assert list(kept.images) == images
    assert not list(tmp_path.iterdir())
