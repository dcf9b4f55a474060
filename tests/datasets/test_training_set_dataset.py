"""Training sets on disk: latents, prompts and weights, and nothing that a training could not use."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from kedro.io import DatasetError
from kedro.io.core import Version
from safetensors.torch import save_file

from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.datasets import TrainingSetDataset

Damage = Callable[[Path], object]


def test_a_training_set_comes_back_as_it_was_saved(tmp_path: Path, training_set: TrainingSet) -> None:
    dataset = TrainingSetDataset(filepath=tmp_path / "set")
    dataset.save(training_set)
    loaded = dataset.load()
    assert loaded.metadata.equals(training_set.metadata)
    assert torch.equal(loaded.latents, training_set.latents)


def test_it_stores_no_images(tmp_path: Path, training_set: TrainingSet) -> None:
    TrainingSetDataset(filepath=tmp_path / "set").save(training_set)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["set/latents.safetensors", "set/metadata.parquet"]


def test_an_empty_training_set_can_be_kept(tmp_path: Path, training_set: TrainingSet) -> None:
    dataset = TrainingSetDataset(filepath=tmp_path / "set")
    dataset.save(training_set.select([]))
    assert len(dataset.load()) == 0


def test_versions_lie_where_kedro_looks_for_them(tmp_path: Path, training_set: TrainingSet) -> None:
    TrainingSetDataset(filepath=tmp_path / "set", version=Version(None, "v1")).save(training_set)
    latest = TrainingSetDataset(filepath=tmp_path / "set", version=Version(None, None))
    assert latest.exists()
    assert len(latest.load()) == 5


def test_equal_training_sets_are_equal_byte_for_byte(tmp_path: Path, training_set: TrainingSet) -> None:
    for name in ("a", "b"):
        TrainingSetDataset(filepath=tmp_path / name).save(training_set.select(range(5)))
    for name in ("latents.safetensors", "metadata.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_pruning_deletes_the_latents_and_keeps_the_table(tmp_path: Path, training_set: TrainingSet) -> None:
    dataset = TrainingSetDataset(filepath=tmp_path / "set", version=Version(None, "v1"))
    dataset.save(training_set)
    dataset.prune("v1")
    assert sorted(path.name for path in (tmp_path / "set/v1/set").iterdir()) == ["metadata.parquet", "pruned.txt"]
    with pytest.raises(DatasetError, match="was pruned"):
        dataset.load()


def test_the_preview_is_a_table_that_kedro_viz_can_show(tmp_path: Path, training_set: TrainingSet) -> None:
    dataset = TrainingSetDataset(filepath=tmp_path / "set")
    dataset.save(training_set)
    shown = dataset.preview(rows=2)
    assert shown["columns"] == list(training_set.metadata.columns)
    assert [row[shown["columns"].index("weight")] for row in shown["data"]] == [0.0, 0.25]
    assert TrainingSetDataset.preview.__annotations__["return"].__name__ == "TablePreview"


def change(**columns: object) -> Damage:
    """Overwrite columns of the table."""

    def damage(folder: Path) -> None:
        path = folder / "metadata.parquet"
        pd.read_parquet(path).assign(**columns).to_parquet(path, index=False)

    return damage


def drop(column: str) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "metadata.parquet"
        pd.read_parquet(path).drop(columns=column).to_parquet(path, index=False)

    return damage


def latents(tensor: torch.Tensor, name: str = "latents") -> Damage:
    """Replace the latents."""
    return lambda folder: save_file({name: tensor}, folder / "latents.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "metadata.parquet").unlink(), "lacks metadata.parquet"),
        (lambda folder: (folder / "metadata.parquet").write_bytes(b"?"), "no readable parquet"),
        (lambda folder: (folder / "latents.safetensors").unlink(), "lacks latents.safetensors"),
        (lambda folder: (folder / "latents.safetensors").write_bytes(b"?"), "no tensor 'latents' that can be read"),
        (latents(torch.zeros(5, 4, 4, 4), "other"), "no tensor 'latents' that can be read"),
        (latents(torch.zeros(4, 4, 4, 4)), "holds 4 latents for 5 images"),
        (latents(torch.zeros(5, 4, 4)), "no finite float32 or bfloat16 latents"),
        (latents(torch.zeros(5, 4, 4, 4, dtype=torch.float16)), "no finite float32 or bfloat16 latents"),
        (latents(torch.full((5, 4, 4, 4), torch.nan)), "no finite float32 or bfloat16 latents"),
        (latents(torch.full((5, 4, 4, 4), torch.inf)), "no finite float32 or bfloat16 latents"),
        (change(weight=-1.0), r"the columns \['weight'\]"),
        (change(weight=float("nan")), r"the columns \['weight'\]"),
        (change(weight=float("inf")), r"the columns \['weight'\]"),
        (change(weight="heavy"), r"the columns \['weight'\]"),
        (change(round=-1), r"the columns \['round'\]"),
        (change(round=1.5), r"the columns \['round'\]"),
        (change(text=3), r"the columns \['text'\]"),
        (change(image_id="same"), "not unique"),
        (change(image_id=[f"../{row}" for row in range(5)]), "cannot name a file"),
        *((drop(name), name) for name in ("image_id", "prompt_id", "text", "round", "weight")),
    ],
)
def test_a_damaged_training_set_says_what_is_wrong(
    tmp_path: Path, training_set: TrainingSet, damage: Damage, message: str
) -> None:
    dataset = TrainingSetDataset(filepath=tmp_path / "set")
    dataset.save(training_set)
    damage(tmp_path / "set")
    with pytest.raises(DatasetError, match=message) as refused:
        dataset.load()
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"weight": -1.0}, r"the columns \['weight'\]"),
        ({"weight": float("nan")}, r"the columns \['weight'\]"),
        ({"round": 1.5}, r"the columns \['round'\]"),
        ({"text": 3}, r"the columns \['text'\]"),
        ({"image_id": "same"}, "not unique"),
        ({"image_id": [f"../{row}" for row in range(5)]}, "cannot name a file"),
    ],
)
def test_a_table_that_could_not_be_loaded_is_not_saved(
    tmp_path: Path, training_set: TrainingSet, columns: dict[str, object], message: str
) -> None:
    broken = TrainingSet(training_set.metadata.assign(**columns), training_set.latents)
    with pytest.raises(DatasetError, match=message) as refused:
        TrainingSetDataset(filepath=tmp_path / "set").save(broken)
    assert "correct the step that makes it" in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "latents",
    [torch.zeros(5, 4, 4), torch.zeros(5, 4, 4, 4, dtype=torch.float16), torch.full((5, 4, 4, 4), torch.nan)],
)
def test_latents_that_could_not_be_loaded_are_not_saved(
    tmp_path: Path, training_set: TrainingSet, latents: torch.Tensor
) -> None:
    with pytest.raises(DatasetError, match="no finite float32 or bfloat16 latents"):
        TrainingSetDataset(filepath=tmp_path / "set").save(TrainingSet(training_set.metadata, latents))
    assert not list(tmp_path.iterdir())


def test_a_remote_path_is_refused() -> None:
    with pytest.raises(DatasetError, match="local"):
        TrainingSetDataset(filepath="s3://bucket/set")
