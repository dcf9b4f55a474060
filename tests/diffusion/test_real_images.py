"""Real images with captions become a training set, or are refused before anything is computed."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rsidiff_kedro.diffusion.backbones import FAMILIES, load_backbone
from rsidiff_kedro.diffusion.real_images import RealImageError, encode_pairs, read_pairs
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings
from rsidiff_kedro.diffusion.training import finetune, initial_adapter


@pytest.fixture
def folder(tmp_path):
    """Three images of other sizes and modes, with a table."""
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for name, mode, size in (("a.png", "RGB", (48, 32)), ("b.jpg", "L", (20, 90)), ("c.png", "RGBA", (32, 32))):
        channels = {"RGB": (3,), "L": (), "RGBA": (4,)}[mode]
        pixels = rng.integers(0, 256, (size[1], size[0], *channels), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / name)
    table = pd.DataFrame({"file_name": ["pictures/a.png", "pictures/b.jpg", "pictures/c.png"], "caption": list("abc")})
    table.to_csv(tmp_path / "metadata.csv", index=False)
    return tmp_path


def refused(folder, column="caption"):
    with pytest.raises(RealImageError) as caught:
        read_pairs(folder, column)
    return str(caught.value)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_pairs_train_an_adapter_of_each_family(folder, family_folder, family):
    model = ModelSettings(family=family, base=str(family_folder(family)))
    images = encode_pairs(load_backbone(model), folder, read_pairs(folder, "caption"), micro_batch_size=2)
    assert images.metadata["text"].tolist() == ["a", "b", "c"]
    assert images.latents.shape == (3, 4, 16, 16)
    assert {image.size for image in images.images} == {(32, 32)}
    settings = FinetuneSettings(rank=2, steps=2, batch_size=2)
    parent = initial_adapter(load_backbone(model), settings, 0)
    assert finetune(load_backbone(model), parent, images, settings, 0, 1)[0].digest != parent.digest


@pytest.mark.parametrize("family", list(FAMILIES))
def test_latents_have_the_scale_that_decoding_takes_off(folder, family_folder, family):
    backbone = load_backbone(ModelSettings(family=family, base=str(family_folder(family))))
    config = backbone.pipeline.vae.config
    image = Image.new("RGB", (32, 32), "red")
    pixels = backbone.pipeline.image_processor.preprocess([image])
    plain = backbone.pipeline.vae.encode(pixels).latent_dist.mode()
    scaled = backbone.encode_images([image])
    assert np.allclose(scaled / config.scaling_factor + (config.shift_factor or 0.0), plain, atol=1e-5)


@pytest.mark.parametrize(("name", "write"), [("metadata.jsonl", "to_json"), ("metadata.parquet", "to_parquet")])
def test_the_table_may_be_of_any_kind_that_imagefolder_has(folder, name, write):
    table = pd.read_csv(folder / "metadata.csv")
    (folder / "metadata.csv").unlink()
    options = {"orient": "records", "lines": True} if write == "to_json" else {}
    getattr(table, write)(folder / name, **options)
    assert read_pairs(folder, "caption")["text"].tolist() == ["a", "b", "c"]


def test_a_folder_without_a_table_is_refused(tmp_path):
    assert "metadata.jsonl" in refused(tmp_path)


def test_a_lacking_column_is_named_with_those_there_are(folder):
    assert "lacks the columns ['text']; it has ['caption', 'file_name']" in refused(folder, "text")


def test_a_missing_image_is_named(folder):
    (folder / "pictures" / "b.jpg").unlink()
    assert "1 images are missing, pictures/b.jpg first" in refused(folder)


def test_a_name_that_leads_out_of_the_folder_counts_as_missing(folder):
    (folder / "metadata.csv").write_text("file_name,caption\n../../etc/passwd,a\n")
    assert "etc/passwd first" in refused(folder)


def test_an_image_without_a_caption_is_named(folder):
    (folder / "metadata.csv").write_text("file_name,caption\npictures/a.png,\n")
    assert "1 images have no caption, pictures/a.png first" in refused(folder)


def test_a_broken_table_is_refused(folder):
    (folder / "metadata.csv").write_bytes(b"")
    assert "cannot be read" in refused(folder)


def test_a_file_that_is_no_image_is_named(folder, family_folder):
    (folder / "pictures" / "a.png").write_bytes(b"no image")
    backbone = load_backbone(ModelSettings(base=str(family_folder("stable_diffusion"))))
    with pytest.raises(RealImageError, match="no image that can be read"):
        encode_pairs(backbone, folder, read_pairs(folder, "caption"), 2)
