"""Saving without versions replaces an earlier copy, and deletes nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DatasetError
from kedro.io.core import Version

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.datasets import AdapterDataset, ImageSetDataset, TrainingSetDataset
from rsidiff_kedro.datasets.folder import FolderDataset
from rsidiff_kedro.provenance.content_digest import PRUNED

Saved = tuple[type[FolderDataset[Any]], Any]


@pytest.fixture(params=["adapter", "images", "training_set"])
def saved(request: pytest.FixtureRequest, adapter: Adapter, image_set: ImageSet, training_set: TrainingSet) -> Saved:
    """A kind of dataset, and what it saves."""
    kinds = {
        "adapter": (AdapterDataset, adapter),
        "images": (ImageSetDataset, image_set),
        "training_set": (TrainingSetDataset, training_set),
    }
    return kinds[request.param]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_versions_are_not_taken_for_an_earlier_copy(tmp_path: Path, saved: Saved) -> None:
    kind, data = saved
    for version in ("v1", "v2"):
        kind(filepath=tmp_path / "data", version=Version(None, version)).save(data)
    before = files(tmp_path)
    with pytest.raises(DatasetError, match=r"data holds v1 and 1 more, which .*Dataset did not write there without"):
        kind(filepath=tmp_path / "data").save(data)
    assert files(tmp_path) == before


def test_other_files_are_not_taken_for_an_earlier_copy(tmp_path: Path, saved: Saved) -> None:
    kind, data = saved
    kind(filepath=tmp_path / "data").save(data)
    (tmp_path / "data/notes.txt").write_text("mine")
    before = files(tmp_path)
    with pytest.raises(DatasetError, match=r"data holds notes.txt, which .* and saving would delete it"):
        kind(filepath=tmp_path / "data").save(data)
    assert files(tmp_path) == before


def test_an_earlier_copy_is_replaced_as_a_whole(tmp_path: Path, saved: Saved) -> None:
    kind, data = saved
    dataset = kind(filepath=tmp_path / "data")
    dataset.save(data)
    first = files(tmp_path)
    (tmp_path / "data" / PRUNED).touch()
    (tmp_path / "data/.DS_Store").touch()
    dataset.save(data)
    assert files(tmp_path) == first


def test_an_image_set_without_latents_replaces_one_with_latents(tmp_path: Path, image_set: ImageSet) -> None:
    dataset = ImageSetDataset(filepath=tmp_path / "images")
    dataset.save(image_set)
    dataset.save(replace(image_set, latents=None))
    assert dataset.load().latents is None
