"""Adapters on disk."""

from pathlib import Path

import pytest
import torch
from kedro.io import DatasetError
from kedro.io.core import Version
from safetensors.torch import load_file

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.datasets import AdapterDataset, ImageSetDataset


def test_an_adapter_comes_back_as_it_was_saved(tmp_path: Path, adapter: Adapter) -> None:
    dataset = AdapterDataset(filepath=tmp_path / "adapter", version=Version(None, "v1"))
    dataset.save(adapter)
    loaded = AdapterDataset(filepath=tmp_path / "adapter", version=Version("v1", None)).load()
    assert loaded.info == adapter.info
    assert loaded.digest == adapter.digest


def test_equal_adapters_are_equal_byte_for_byte(tmp_path: Path, adapter: Adapter) -> None:
    AdapterDataset(filepath=tmp_path / "a").save(adapter)
    AdapterDataset(filepath=tmp_path / "b").save(Adapter(dict(reversed(adapter.weights.items())), adapter.info))
    for name in ("pytorch_lora_weights.safetensors", "adapter.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_weights_have_the_name_that_diffusers_looks_for(tmp_path: Path, adapter: Adapter) -> None:
    AdapterDataset(filepath=tmp_path / "adapter").save(adapter)
    weights = load_file(tmp_path / "adapter/pytorch_lora_weights.safetensors")
    assert torch.equal(weights["unet.a.lora_A.weight"], torch.ones(2, 3))


def test_the_preview_shows_the_newest_images_that_this_adapter_generated(
    tmp_path: Path, adapter: Adapter, image_set: ImageSet
) -> None:
    dataset = AdapterDataset(filepath=tmp_path / "adapter")
    dataset.save(adapter)
    place = tmp_path / "test_images"
    with pytest.raises(DatasetError, match=f"no images of the adapter {adapter.digest}"):
        dataset.preview(str(place))
    for version, checkpoint, count in (("v1", adapter.digest, 1), ("v2", adapter.digest, 2), ("v3", "another", 3)):
        metadata = image_set.metadata.head(count).assign(checkpoint=checkpoint)
        ImageSetDataset(filepath=place, version=Version(None, version)).save(
            ImageSet(metadata, image_set.images[:count], None)
        )
    assert dataset.preview(str(place)) == ImageSetDataset(filepath=place, version=Version("v2", None)).preview()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pytorch_lora_weights.safetensors", None, "lacks pytorch_lora_weights.safetensors"),
        ("pytorch_lora_weights.safetensors", b"?", "no readable safetensors"),
        ("adapter.json", None, "lacks adapter.json"),
        ("adapter.json", b"{", "no readable JSON"),
        ("adapter.json", b"[]", "JSON object"),
        ("adapter.json", b'{"digest": "ffffffffffff"}', "ffffffffffff"),
    ],
)
def test_a_damaged_adapter_says_what_is_wrong(
    tmp_path: Path, adapter: Adapter, name: str, content: bytes | None, message: str
) -> None:
    dataset = AdapterDataset(filepath=tmp_path / "adapter")
    dataset.save(adapter)
    path = tmp_path / "adapter" / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        dataset.load()


def test_the_digest_is_read_without_the_weights(tmp_path: Path, adapter: Adapter) -> None:
    dataset = AdapterDataset(filepath=tmp_path / "adapter")
    dataset.save(adapter)
    (tmp_path / "adapter/pytorch_lora_weights.safetensors").unlink()
    assert dataset.digest() == adapter.digest
    (tmp_path / "adapter/adapter.json").write_text("{}", "utf-8")
    with pytest.raises(DatasetError, match="says digest = None, which is none; make the adapter anew"):
        dataset.digest()


def test_info_that_is_no_json_is_refused(tmp_path: Path, adapter: Adapter) -> None:
    with pytest.raises(DatasetError, match="no JSON"):
        AdapterDataset(filepath=tmp_path / "adapter").save(Adapter(adapter.weights, {"seed": object()}))
    assert not (tmp_path / "adapter").exists()
