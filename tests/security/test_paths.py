"""No path leads out of its folder through a prompt, an id, a name in a table, a link or a record."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DatasetError
from PIL import Image

from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.datasets import ImageSetDataset
from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.opening import check_model, load_model
from rsidiff_kedro.diffusion.real_images import RealImageError, read_pairs
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings
from rsidiff_kedro.prompts.sources.chat import Reply, ReplyCache
from rsidiff_kedro.provenance.records import Record, Records
from rsidiff_kedro.scenes import BASE_FOLDER


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """An image beside the folders."""
    path = tmp_path / "p0-0.png"
    Image.new("RGB", (8, 8), "red").save(path)
    return path


@pytest.fixture
def image_set(tmp_path: Path, draw, outside: Path) -> Path:
    """A saved image set."""
    ImageSetDataset(filepath=tmp_path / "set").save(draw("a fox", "a hare"))
    return tmp_path / "set"


@pytest.mark.parametrize("name", ["../p0-0.png", "images/../../p0-0.png", "images/p1-0.png", "./images/p0-0.png", "{}"])
def test_a_file_name_of_an_image_set(image_set: Path, outside: Path, name: str) -> None:
    path = image_set / "metadata.parquet"
    table = pd.read_parquet(path)
    table.loc[0, "file_name"] = name.format(outside)
    table.to_parquet(path, index=False)
    with pytest.raises(DatasetError, match=r"names files that are not images/<image_id>\.png"):
        ImageSetDataset(filepath=image_set).load()


@pytest.mark.parametrize("image_id", ["../../p0-0", "a/b", "", ".", "a\0b", "p1-0"])
def test_an_image_id_of_an_image_set(image_set: Path, image_id: str) -> None:
    path = image_set / "metadata.parquet"
    table = pd.read_parquet(path)
    table.loc[0, ["image_id", "file_name"]] = image_id, f"images/{image_id}.png"
    table.to_parquet(path, index=False)
    with pytest.raises(DatasetError):
        ImageSetDataset(filepath=image_set).load()


def test_a_link_in_an_image_set(image_set: Path, outside: Path) -> None:
    (image_set / "images" / "p0-0.png").unlink()
    (image_set / "images" / "p0-0.png").symlink_to(outside)
    with pytest.raises(DatasetError, match=r"lacks 1 of the 2 images"):
        ImageSetDataset(filepath=image_set).load()


def test_a_link_in_the_place_of_an_image_sets_images(image_set: Path, tmp_path: Path) -> None:
    (image_set / "images").rename(tmp_path / "elsewhere")
    (image_set / "images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=r"lacks 2 of the 2 images"):
        ImageSetDataset(filepath=image_set).load()


@pytest.mark.parametrize("name", ["../p0-0.png", "{}", "link.png"])
def test_a_file_name_of_real_images(tmp_path: Path, outside: Path, name: str) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    (folder / "link.png").symlink_to(outside)
    pd.DataFrame({"file_name": [name.format(outside)], "text": ["a fox"]}).to_csv(folder / "metadata.csv")
    with pytest.raises(RealImageError, match="1 images are missing"):
        read_pairs(folder, "text")


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_a_link_in_the_place_of_a_table_of_real_images(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    (tmp_path / "secret").write_text("file_name,text\na.png,a secret\n")
    (folder / name).symlink_to("../secret")
    with pytest.raises(RealImageError, match="a link to a file outside of the folder"):
        read_pairs(folder, "text")


def test_prompts_name_no_file(tmp_path: Path, hostile: str, family_folder: Callable[[str], Path]) -> None:
    model = load_model(ModelSettings(base=str(family_folder("stable_diffusion"))))
    sampler = SamplerSettings(num_inference_steps=1, guidance_scale=1.0, micro_batch_size=1)
    prompts = prompt_table([hostile[:2000]], source="file", category=hostile)
    images = sample_images(model, None, prompts, 1, sampler, 0, "round_1", "generating")
    ImageSetDataset(filepath=tmp_path / "a" / "set").save(images)
    (generated,) = tmp_path.rglob("*.png")
    assert generated == tmp_path / "a" / "set" / "images" / f"round_1_{prompts['prompt_id'].iloc[0]}_0.png"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert ImageSetDataset(filepath=tmp_path / "a" / "set").load().metadata["text"].iloc[0] == prompts["text"].iloc[0]


def test_a_kept_reply_has_a_name_of_its_own(tmp_path: Path, hostile: str) -> None:
    ReplyCache(tmp_path / "replies").put(hostile, {"model": hostile}, Reply(content="", finish_reason="", tokens=1))
    (path,) = tmp_path.rglob("*.json")
    assert path.parent == tmp_path / "replies"
    assert path.stem.isalnum()


RECORD = Record(
    step="generate", version="1", outputs={"images": "d1"}, code="a", assets="b", libraries={}, parameters={}, inputs={}
)


@pytest.mark.parametrize("version", ["../../elsewhere", "/elsewhere", "..", "", "a\nb", "a" * 200])
def test_a_version_of_a_record(tmp_path: Path, version: str) -> None:
    Records(tmp_path).write(RECORD)
    path = next(tmp_path.glob("*.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": version}))
    assert Records(tmp_path).versions(RECORD.key) == []
    assert Records(tmp_path).all() == []


def test_the_key_of_a_record(tmp_path: Path) -> None:
    Records(tmp_path).write(RECORD)
    assert Records(tmp_path / "lineage").versions(f"../{RECORD.key}") == []


def test_a_record_in_the_place_of_another(tmp_path: Path) -> None:
    Records(tmp_path).write(RECORD)
    other = "0123456789abcdef"
    shutil.copy(next(tmp_path.glob("*.json")), tmp_path / f"{other}_{RECORD.version}.json")
    assert Records(tmp_path).versions(other) == []


@pytest.mark.parametrize("part", ["../../stolen.safetensors", "/stolen.safetensors", "weights.bin", 3])
def test_parts_of_sharded_weights(tmp_path: Path, part: object) -> None:
    model = Path(shutil.copytree(BASE_FOLDER, tmp_path / "model"))
    index = model / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": {"a": part}}))
    with pytest.raises(ModelError, match="names parts that are no safetensors beside it"):
        check_model(ModelSettings(base=str(model)))
