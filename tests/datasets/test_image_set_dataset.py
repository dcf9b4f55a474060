"""Image sets on disk: what was saved is what is loaded, by us and by others."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from kedro.io import DatasetError
from kedro.io.core import Version
from PIL import Image

from rsidiff_kedro.core.image_set import ImageFiles, ImageSet
from rsidiff_kedro.datasets import ImageSetDataset


def test_an_image_set_comes_back_as_it_was_saved(tmp_path: Path, image_set: ImageSet) -> None:
    dataset = ImageSetDataset(filepath=tmp_path / "images")
    dataset.save(image_set)
    loaded = dataset.load()
    assert isinstance(loaded.images, ImageFiles)
    assert all(np.array_equal(a, b) for a, b in zip(image_set.images, loaded.images, strict=True))
    assert torch.equal(loaded.latents, image_set.latents)
    columns = [name for name in image_set.metadata if name != "file_name"]
    assert loaded.metadata[columns].equals(image_set.metadata[columns])


def test_an_image_set_without_latents_comes_back_without(tmp_path: Path, image_set: ImageSet) -> None:
    dataset = ImageSetDataset(filepath=tmp_path / "images")
    dataset.save(replace(image_set, latents=None))
    assert dataset.load().latents is None


def test_an_empty_image_set_can_be_kept(tmp_path: Path, image_set: ImageSet) -> None:
    dataset = ImageSetDataset(filepath=tmp_path / "images")
    dataset.save(image_set.select([]))
    assert len(dataset.load()) == 0
    assert dataset.preview()


def test_hugging_face_datasets_reads_the_folder(tmp_path: Path, image_set: ImageSet) -> None:
    load_dataset = pytest.importorskip("datasets").load_dataset
    ImageSetDataset(filepath=tmp_path / "set").save(image_set)
    table = load_dataset("imagefolder", data_dir=str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "c"))
    assert sorted(table["text"]) == sorted(image_set.metadata["text"])
    assert {"image", "image_id", "prompt_id", "seed", "checkpoint"} <= set(table.column_names)
    row = table[0]
    position = list(image_set.metadata["image_id"]).index(row["image_id"])
    assert np.array_equal(row["image"].convert("RGB"), image_set.images[position])


def test_images_on_disk_are_linked_and_take_no_more_space(tmp_path: Path, image_set: ImageSet) -> None:
    first, second = ImageSetDataset(filepath=tmp_path / "a"), ImageSetDataset(filepath=tmp_path / "b")
    first.save(image_set)
    second.save(first.load().select([3, 1]))
    names = sorted(path.name for path in (tmp_path / "b/images").iterdir())
    assert names == ["round_1-p1-0.png", "round_1-p3-0.png"]
    assert all((tmp_path / "a/images" / name).samefile(tmp_path / "b/images" / name) for name in names)


def test_linked_images_outlive_those_that_they_were_linked_to(tmp_path: Path, image_set: ImageSet) -> None:
    first = ImageSetDataset(filepath=tmp_path / "a", version=Version(None, "v1"))
    second = ImageSetDataset(filepath=tmp_path / "b")
    first.save(image_set)
    second.save(first.load())
    first.prune("v1")
    assert not (tmp_path / "a/v1/a/images").exists()
    assert all(np.array_equal(a, b) for a, b in zip(image_set.images, second.load().images, strict=True))


def test_images_of_another_file_system_are_copied_byte_for_byte(
    tmp_path: Path, image_set: ImageSet, other_file_system: Path
) -> None:
    first, second = ImageSetDataset(filepath=other_file_system / "a"), ImageSetDataset(filepath=tmp_path / "b")
    first.save(image_set)
    second.save(first.load())
    for image_id in image_set.metadata["image_id"]:
        source, copy = (folder / f"images/{image_id}.png" for folder in (other_file_system / "a", tmp_path / "b"))
        assert not copy.samefile(source)
        assert copy.read_bytes() == source.read_bytes()


def test_images_on_disk_of_another_format_are_saved_as_png(tmp_path: Path, image_set: ImageSet) -> None:
    paths = [tmp_path / f"{row}.jpg" for row in range(len(image_set))]
    for image, path in zip(image_set.images, paths, strict=True):
        image.save(path, format="PNG")
    dataset = ImageSetDataset(filepath=tmp_path / "set")
    dataset.save(replace(image_set, images=ImageFiles(paths)))
    saved = tmp_path / "set/images/round_1-p0-0.png"
    assert not saved.samefile(paths[0])
    assert all(np.array_equal(a, b) for a, b in zip(image_set.images, dataset.load().images, strict=True))


def test_versions_lie_where_kedro_looks_for_them(tmp_path: Path, image_set: ImageSet) -> None:
    ImageSetDataset(filepath=tmp_path / "set", version=Version(None, "v1")).save(image_set)
    assert (tmp_path / "set/v1/set/metadata.parquet").is_file()
    latest = ImageSetDataset(filepath=tmp_path / "set", version=Version(None, None))
    assert latest.exists()
    assert len(latest.load()) == 5


def test_a_save_that_fails_leaves_nothing_behind(tmp_path: Path, image_set: ImageSet) -> None:
    (tmp_path / "gone.png").write_bytes(b"no image")
    broken = replace(image_set, images=[*image_set.images[:4], ImageFiles([tmp_path / "gone.png"])])
    dataset = ImageSetDataset(filepath=tmp_path / "sets" / "a", version=Version(None, "v1"))
    with pytest.raises(DatasetError):
        dataset.save(broken)
    assert not dataset.exists()
    assert [path for path in (tmp_path / "sets").rglob("*") if path.is_file()] == []


def test_saving_again_without_versions_replaces_the_whole_folder(tmp_path: Path, image_set: ImageSet) -> None:
    dataset = ImageSetDataset(filepath=tmp_path / "set")
    dataset.save(image_set)
    dataset.save(image_set.select([2]))
    assert [path.name for path in (tmp_path / "set/images").iterdir()] == ["round_1-p2-0.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("image_id", ["../up", "", "a/b", "a" * 300])
def test_an_image_id_that_cannot_name_a_file_is_refused(tmp_path: Path, image_set: ImageSet, image_id: str) -> None:
    ids = [*image_set.metadata["image_id"][:4], image_id]
    dataset = ImageSetDataset(filepath=tmp_path / "set")
    with pytest.raises(DatasetError, match="cannot name a file"):
        dataset.save(replace(image_set, metadata=image_set.metadata.assign(image_id=ids)))


def test_an_image_id_that_is_not_unique_is_refused(tmp_path: Path, image_set: ImageSet) -> None:
    dataset = ImageSetDataset(filepath=tmp_path / "set")
    with pytest.raises(DatasetError, match="not unique"):
        dataset.save(replace(image_set, metadata=image_set.metadata.assign(image_id="same")))


@pytest.mark.parametrize("column", ["prompt_id", "text", "sample_index", "seed", "guidance_scale", "checkpoint"])
def test_a_table_that_could_not_be_loaded_is_not_saved(tmp_path: Path, image_set: ImageSet, column: str) -> None:
    broken = replace(image_set, metadata=image_set.metadata.assign(**{column: None}))
    with pytest.raises(DatasetError, match=rf"the columns \['{column}'\].*correct the step"):
        ImageSetDataset(filepath=tmp_path / "set").save(broken)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_latents_that_could_not_be_loaded_are_not_saved(tmp_path: Path, image_set: ImageSet, value: float) -> None:
    broken = replace(image_set, latents=torch.full((5, 4, 4, 4), value))
    with pytest.raises(DatasetError, match="no finite float32 or bfloat16 latents"):
        ImageSetDataset(filepath=tmp_path / "set").save(broken)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "metadata.parquet").unlink(), "lacks metadata.parquet"),
        (lambda folder: (folder / "metadata.parquet").write_bytes(b"?"), "no readable parquet"),
        (lambda folder: (folder / "images/round_1-p3-0.png").unlink(), "lacks 1 of the 5 images"),
        (lambda folder: (folder / "latents.safetensors").write_bytes(b"?"), "latents"),
    ],
)
def test_a_damaged_image_set_says_what_is_wrong(tmp_path: Path, image_set: ImageSet, damage, message: str) -> None:
    dataset = ImageSetDataset(filepath=tmp_path / "set")
    dataset.save(image_set)
    damage(tmp_path / "set")
    with pytest.raises(DatasetError, match=message):
        dataset.load()


def test_the_preview_is_a_picture_that_kedro_viz_can_show(tmp_path: Path, image_set: ImageSet) -> None:
    dataset = ImageSetDataset(filepath=tmp_path / "set")
    dataset.save(image_set)
    with Image.open(io.BytesIO(base64.b64decode(dataset.preview(images=4, columns=2)))) as sheet:
        assert sheet.width > 200
    assert ImageSetDataset.preview.__annotations__["return"].__name__ == "ImagePreview"


def test_a_remote_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="local"):
        ImageSetDataset(filepath="s3://bucket/images")
