"""Damaged image sets, adapters and real images are refused in one line, or give what they can hold."""

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from damage import damaged, damaged_json, examples
from hypothesis import given
from hypothesis import strategies as st
from kedro.io import DatasetError
from PIL import Image

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import ImageFileError, ImageSet
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.datasets import AdapterDataset, ImageSetDataset, TrainingSetDataset
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.real_images import RealImageError, encode_pairs, read_pairs
from rsidiff_kedro.diffusion.settings import ModelSettings


def small_image_set() -> ImageSet:
    rng = np.random.default_rng(0)
    metadata = pd.DataFrame(
        {
            "file_name": "",
            "image_id": [f"round_1-p{row}-0" for row in range(3)],
            "prompt_id": [f"p{row}" for row in range(3)],
            "text": ["a red circle", "a café ☃", "a green square left of a blue circle"],
            "sample_index": 0,
            "seed": range(3),
            "guidance_scale": 2.0,
            "num_inference_steps": 8,
            "checkpoint": "abc",
            "weight": [0.5, 1.0, 2.0],
        }
    )
    images = [Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(3)]
    return ImageSet(metadata, images, torch.ones(3, 4, 2, 2))


@pytest.fixture(scope="session")
def image_set_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "set"
    ImageSetDataset(filepath=folder).save(small_image_set())
    return folder


@pytest.mark.parametrize("name", ["metadata.parquet", "latents.safetensors", "images/round_1-p1-0.png"])
def test_image_sets(image_set_folder: Path, name: str, answer) -> None:
    path = image_set_folder / name
    whole = path.read_bytes()
    others = [each.read_bytes() for each in image_set_folder.rglob("*") if each.is_file() and each != path]
    dataset = ImageSetDataset(filepath=image_set_folder)

    @examples(120)
    @given(damaged(whole, others))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        loaded = answer(dataset.load, DatasetError, image_set_folder)
        if loaded is None:
            return
        assert all(each.parent == image_set_folder / "images" for each in loaded.images.paths)
        assert all(isinstance(text, str) for text in loaded.metadata["text"])
        assert loaded.latents is None or (loaded.latents.isfinite().all() and loaded.latents.dim() == 4)
        assert np.isfinite(loaded.metadata.get("weight", pd.Series(dtype=float))).all()
        images = answer(lambda: list(loaded.images), ImageFileError, image_set_folder)
        if images is not None:
            assert {image.mode for image in images} == {"RGB"}
            assert answer(dataset.preview, DatasetError, image_set_folder)

    try:
        check()
    finally:
        path.write_bytes(whole)


@pytest.fixture(scope="session")
def training_set_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "training_set"
    images = small_image_set()
    assert images.latents is not None
    metadata = images.metadata.drop(columns="file_name").assign(round=[1, 1, 2])
    TrainingSetDataset(filepath=folder).save(TrainingSet(metadata, images.latents))
    return folder


@pytest.mark.parametrize("name", ["metadata.parquet", "latents.safetensors"])
def test_training_sets(training_set_folder: Path, name: str, answer) -> None:
    path = training_set_folder / name
    whole = path.read_bytes()
    others = [each.read_bytes() for each in training_set_folder.rglob("*") if each.is_file() and each != path]
    dataset = TrainingSetDataset(filepath=training_set_folder)

    @examples(120)
    @given(damaged(whole, others))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        loaded = answer(dataset.load, DatasetError, training_set_folder)
        if loaded is None:
            return
        assert len(loaded.metadata) == len(loaded.latents)
        assert all(isinstance(text, str) for text in loaded.metadata["text"])
        assert loaded.latents.isfinite().all() and loaded.latents.dim() == 4
        assert np.isfinite(loaded.metadata["weight"]).all()
        assert answer(dataset.preview, DatasetError, training_set_folder)

    try:
        check()
    finally:
        path.write_bytes(whole)


@pytest.fixture(scope="session")
def adapter_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "adapter"
    weights = {"unet.b.lora_B.weight": torch.zeros(3, 2), "unet.a.lora_A.weight": torch.arange(6.0).view(2, 3)}
    AdapterDataset(filepath=folder).save(Adapter(weights, {"round": 1, "parent": None, "finetune": {"rank": 2}}))
    return folder


@pytest.mark.parametrize("name", ["pytorch_lora_weights.safetensors", "adapter.json"])
def test_adapters(adapter_folder: Path, name: str, answer) -> None:
    path = adapter_folder / name
    whole, dataset = path.read_bytes(), AdapterDataset(filepath=adapter_folder)
    original = dataset.load()

    @examples(150)
    @given(damaged_json(whole) if name.endswith("json") else damaged(whole))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        loaded = answer(dataset.load, DatasetError, adapter_folder)
        if loaded is not None:
            assert loaded.weights.keys() == original.weights.keys()
            assert all(torch.equal(loaded.weights[key], original.weights[key]) for key in original.weights)

    try:
        check()
    finally:
        path.write_bytes(whole)


def pictures() -> dict[str, bytes]:
    """A picture in each format that is read, with what cameras and editors add to it."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    result = {}
    for name, options in {
        "PNG": {"exif": exif},
        "JPEG": {"exif": exif, "comment": b"a comment"},
        "GIF": {"save_all": True, "append_images": [image.rotate(90)]},
        "TIFF": {"exif": exif, "compression": "tiff_lzw"},
        "WEBP": {"exif": exif},
        "BMP": {},
        "PPM": {},
        "JPEG2000": {},
        "AVIF": {"exif": exif},
    }.items():
        buffer = io.BytesIO()
        image.save(buffer, name, **options)
        result[name] = buffer.getvalue()
    return result


@pytest.fixture(scope="session")
def real_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "real"
    folder.mkdir()
    (folder / "a.png").write_bytes(pictures()["PNG"])
    (folder / "b.png").write_bytes(pictures()["JPEG"])
    return folder


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_tables_of_real_images(real_images: Path, tmp_path_factory: pytest.TempPathFactory, name: str, answer) -> None:
    folder = tmp_path_factory.mktemp("fuzz") / "copy"
    shutil.copytree(real_images, folder)
    table = pd.DataFrame({"file_name": ["a.png", "b.png"], "text": ["a café ☃", 'two, "quoted"']})
    write = {"csv": lambda: table.to_csv(index=False).encode(), "parquet": lambda: table.to_parquet(index=False)}
    lines = table.to_json(orient="records", lines=True).encode()
    whole = write.get(name.rpartition(".")[2], lambda: lines)()

    @examples(150)
    @given(damaged(whole))
    def check(content: bytes) -> None:
        (folder / name).write_bytes(content)
        pairs = answer(lambda: read_pairs(folder, "text"), RealImageError, folder)
        if pairs is not None:
            assert all((folder / name).resolve().parent == folder for name in pairs["file_name"])
            assert all(text.strip() for text in pairs["text"])
            pairs.to_parquet(io.BytesIO())

    check()


@pytest.mark.parametrize("kind", list(pictures()))
def test_real_images(real_images: Path, kind: str, answer, family_folder, monkeypatch) -> None:
    model = load_model(ModelSettings(base=str(family_folder("stable_diffusion"))))
    pairs = pd.DataFrame({"file_name": [f"{kind}.png"], "text": ["a"]})
    encode, seen = model.encode_images, []

    def look(images: list[Image.Image]) -> torch.Tensor:
        seen.append(images)
        return encode(images)

    monkeypatch.setattr(model, "encode_images", look)

    @examples(40)
    @given(damaged(pictures()[kind]))
    def check(content: bytes) -> None:
        (real_images / f"{kind}.png").write_bytes(content)
        encoded = answer(lambda: encode_pairs(model, real_images, pairs, 1), RealImageError, real_images)
        if encoded is not None:
            assert encoded.latents.shape == (1, 4, 16, 16)
            assert encoded.latents.isfinite().all()
            (given,) = seen.pop()
            assert given.size == (32, 32)
            assert given.mode == "RGB"

    check()
    (real_images / f"{kind}.png").unlink()


@examples(100)
@given(st.text(max_size=40))
def test_names_of_images_never_leave_their_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("fuzz") / "named"
    image_set = small_image_set()
    metadata = image_set.metadata.assign(image_id=["a", "b", name])
    try:
        ImageSetDataset(filepath=folder).save(ImageSet(metadata, image_set.images, image_set.latents))
    except DatasetError:
        assert not list(folder.parent.rglob("*.png"))
    else:
        assert {path.parent for path in folder.parent.rglob("*.png")} == {folder / "images"}
