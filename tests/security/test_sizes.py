"""A header that promises more than a machine holds is refused before memory is spent on it."""

import json
import shutil
import struct
import zlib
from pathlib import Path

import pytest
import torch
from kedro.io import DatasetError
from PIL import Image
from transformers import CLIPConfig

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import ImageFileError
from rsidiff_kedro.datasets import AdapterDataset, ImageSetDataset
from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.opening import check_model
from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.reporting.contact_sheet import contact_sheet, scale_for
from rsidiff_kedro.rewards.checkpoints import read_config
from rsidiff_kedro.rewards.sources import CheckpointError
from rsidiff_kedro.scenes import BASE_FOLDER, PROXY_FOLDER
from rsidiff_kedro.scenes.plugins.proxy import ProxyModel


def png_of(width: int, height: int) -> bytes:
    """A small PNG that unfolds to a large image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(30_000, 30_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1)])
def test_an_image(tmp_path: Path, draw, size: tuple[int, int]) -> None:
    dataset = ImageSetDataset(filepath=tmp_path / "set")
    dataset.save(draw("a fox"))
    (tmp_path / "set" / "images" / "p0-0.png").write_bytes(png_of(*size))
    with pytest.raises(ImageFileError, match="not a readable PNG"):
        list(dataset.load().images)


def test_images_of_other_sizes_on_a_contact_sheet() -> None:
    images = [Image.new("RGB", size) for size in ((1, 4000), (4000, 1), (2, 2))]
    for first in range(3):
        turned = images[first:] + images[:first]
        sheet = contact_sheet(turned, 3, scale_for(turned), ["a", "b", "c"])
        assert max(sheet.size) < 1000


@pytest.mark.parametrize("length", [2**40, 2**63])
def test_weights(tmp_path: Path, length: int) -> None:
    dataset = AdapterDataset(filepath=tmp_path / "adapter")
    dataset.save(Adapter({"a": torch.ones(1)}))
    (tmp_path / "adapter" / "pytorch_lora_weights.safetensors").write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(DatasetError, match="no readable safetensors"):
        dataset.load()


@pytest.mark.parametrize("change", [{"num_hidden_layers": 10**8}, {"max_position_embeddings": 10**12}])
def test_a_configuration(tmp_path: Path, change: dict[str, int]) -> None:
    model = Path(shutil.copytree(BASE_FOLDER, tmp_path / "model"))
    config = model / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(ModelError, match="which no model has"):
        check_model(ModelSettings(base=str(model)))
    (tmp_path / "config.json").write_text(json.dumps({"vision_config": change}))
    with pytest.raises(CheckpointError, match="which no model has"):
        read_config(CLIPConfig, tmp_path / "config.json")


@pytest.mark.parametrize("change", [{"layers": 10**8}, {"width": 10**9}, {"image_size": 10**6}])
def test_the_proxy(tmp_path: Path, change: dict[str, int]) -> None:
    proxy = Path(shutil.copytree(PROXY_FOLDER, tmp_path / "proxy"))
    (proxy / "config.json").write_text(json.dumps(json.loads((proxy / "config.json").read_text()) | change))
    with pytest.raises(CheckpointError, match="no configuration of the proxy"):
        ProxyModel.from_pretrained(proxy)
