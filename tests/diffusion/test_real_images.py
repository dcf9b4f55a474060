"""Real images with captions become a training set, or are refused before anything is computed."""

import json
import logging
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from rsidiff_kedro.diffusion.families import FAMILIES
from rsidiff_kedro.diffusion.opening import load_model, open_tokenizer
from rsidiff_kedro.diffusion.real_images import RealImageError, check_pairs, encode_pairs, read_pairs
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings
from rsidiff_kedro.diffusion.training import finetune, initial_adapter


@pytest.fixture
def folder(tmp_path):
    """Return a folder of three images of other sizes and modes, with a table."""
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for name, mode, size in (("a.png", "RGB", (48, 32)), ("b.jpg", "L", (20, 90)), ("c.png", "RGBA", (32, 32))):
        channels = {"RGB": (3,), "L": (), "RGBA": (4,)}[mode]
        pixels = rng.integers(0, 256, (size[1], size[0], *channels), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / name)
    table = pd.DataFrame({"file_name": ["pictures/a.png", "pictures/b.jpg", "pictures/c.png"], "caption": list("abc")})
    table.to_csv(tmp_path / "metadata.csv", index=False)
    return tmp_path


def given_to_the_model(folder, family_folder):
    """Return the images, cut and converted, that the autoencoder encodes; padding is left out."""
    opened, given = load_model(ModelSettings(base=str(family_folder("stable_diffusion")))), []
    encode = opened.encode_images

    def look(images):
        given.extend(images)
        return encode(images)

    opened.encode_images = look
    training_set = encode_pairs(opened, folder, read_pairs(folder, "caption"), micro_batch_size=2)
    assert not training_set.metadata.columns.difference(["image_id", "prompt_id", "text", "round", "weight"]).size
    return given[: len(training_set)]


def refused(folder, column="caption"):
    with pytest.raises(RealImageError) as caught:
        read_pairs(folder, column)
    return str(caught.value)


@pytest.mark.parametrize("family", FAMILIES.names)
def test_pairs_train_an_adapter_of_each_family(folder, family_folder, family):
    model = ModelSettings(family=family, base=str(family_folder(family)), resolution=32)
    training_set = encode_pairs(load_model(model), folder, read_pairs(folder, "caption"), micro_batch_size=2)
    assert training_set.metadata["text"].tolist() == ["a", "b", "c"]
    assert training_set.metadata["weight"].tolist() == [1.0, 1.0, 1.0]
    assert training_set.latents.shape == (3, 4, 16, 16)
    settings = FinetuneSettings(rank=2, steps=2, batch_size=2)
    parent = initial_adapter(load_model(model), settings, 0)
    assert finetune(load_model(model), parent, training_set, settings, 0, 1)[0].digest != parent.digest


def test_the_model_is_given_rgb_squares_of_its_size(folder, family_folder):
    images = given_to_the_model(folder, family_folder)
    assert [(image.mode, image.size) for image in images] == [("RGB", (32, 32))] * 3


@pytest.mark.parametrize("family", FAMILIES.names)
def test_latents_have_the_scale_that_decoding_takes_off(folder, family_folder, family):
    opened = load_model(ModelSettings(family=family, base=str(family_folder(family))))
    config = opened.pipeline.vae.config
    image = Image.new("RGB", (32, 32), "red")
    pixels = opened.pipeline.image_processor.preprocess([image])
    encoded = opened.pipeline.vae.encode(pixels)
    plain = encoded.latent if family == "sana" else encoded.latent_dist.mode()
    scaled = opened.encode_images([image])
    assert np.allclose(
        scaled / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0), plain, atol=1e-5
    )


@pytest.mark.parametrize(("name", "write"), [("metadata.jsonl", "to_json"), ("metadata.parquet", "to_parquet")])
def test_the_table_may_be_of_any_kind_that_imagefolder_has(folder, name, write):
    table = pd.read_csv(folder / "metadata.csv")
    (folder / "metadata.csv").unlink()
    options = {"orient": "records", "lines": True} if write == "to_json" else {}
    getattr(table, write)(folder / name, **options)
    assert read_pairs(folder, "caption")["text"].tolist() == ["a", "b", "c"]


def test_what_else_a_file_says_is_left_behind(folder, tmp_path, family_folder):
    exif = Image.Exif()
    exif[0x010E], exif[0x8825] = "taken at home", {1: "N", 2: (52.0, 30.0, 0.0)}
    with Image.open(folder / "pictures" / "a.png") as image:
        image.save(folder / "pictures" / "a.png", exif=exif, icc_profile=b"a profile")
    first = given_to_the_model(folder, family_folder)[0]
    first.save(tmp_path / "saved.png")
    saved = (tmp_path / "saved.png").read_bytes()
    assert not first.info
    assert b"eXIf" not in saved
    assert b"iCCP" not in saved


def test_a_folder_without_a_table_is_refused(tmp_path):
    assert "metadata.jsonl" in refused(tmp_path)


def test_a_lacking_column_is_named_with_those_there_are(folder):
    message = refused(folder, "text")
    assert "no column 'text'; there are file_name, caption; " in message and "sft.text_column" in message


def test_two_tables_are_refused(folder):
    (folder / "metadata.jsonl").write_text('{"file_name": "pictures/a.png", "caption": "a"}\n')
    assert "holds metadata.csv and metadata.jsonl; remove all but one" in refused(folder)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_byte_order_mark_is_no_part_of_a_table(folder, kind):
    text = {"csv": "file_name,caption\npictures/a.png,a\n", "jsonl": '{"file_name": "pictures/a.png", "caption": "a"}'}
    (folder / "metadata.csv").unlink()
    (folder / f"metadata.{kind}").write_text(text[kind], encoding="utf-8-sig")
    assert read_pairs(folder, "caption")["text"].tolist() == ["a"]


def test_a_lone_quotation_mark_loses_no_image(folder):
    rows = [
        "file_name,caption",
        'pictures/a.png,"Once upon',
        'pictures/b.jpg,a book that says "end"',
        'pictures/c.png,"c"',
    ]
    (folder / "metadata.csv").write_text("\n".join(rows))
    assert "metadata.csv: not a valid csv file (the row that begins in line 2" in refused(folder)


def test_an_image_that_two_rows_name_is_told(folder):
    table = pd.read_csv(folder / "metadata.csv")
    pd.concat([table, table.head(1).assign(file_name="./" + table["file_name"][0])]).to_csv(folder / "metadata.csv")
    assert "1 image ('./pictures/a.png') named by an earlier row too, trained on once per row" in check_pairs(
        folder, "caption"
    )


def test_a_caption_of_several_lines_and_the_image_that_it_may_have_swallowed_are_told(folder):
    rows = ["file_name,caption", 'pictures/a.png,"Once upon', "pictures/b.jpg,a time", 'pictures/c.png,end"']
    (folder / "metadata.csv").write_text("\n".join(rows))
    assert check_pairs(folder, "caption").startswith(
        "1 pairs; 1 row (lines 2 to 4) with a line break in quotation marks, read as one row each; "
        "2 images ('pictures/b.jpg' first) in no row of the table, not used; "
    )


def test_classes_are_captions_by_their_names(folder):
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"file_name": Value("string"), "caption": ClassLabel(names=["a fox", "an owl"])})
    (folder / "metadata.csv").unlink()
    rows = {"file_name": ["pictures/a.png", "pictures/b.jpg"], "caption": [1, 0]}
    Dataset.from_dict(rows, features).to_parquet(folder / "metadata.parquet")
    assert read_pairs(folder, "caption")["text"].tolist() == ["an owl", "a fox"]


@pytest.mark.parametrize(("read_by_t5", "cut"), [(None, 2), (6, 3)])
def test_what_is_not_trained_on_as_it_is_is_counted_in_one_line(folder, family_folder, caplog, read_by_t5, cut):
    """T5 cuts a caption that CLIP reads whole."""
    Image.new("RGB", (8, 8)).save(folder / "pictures" / "d.png")
    Image.new("RGB", (8, 8)).save(folder / "pictures" / "._a.png", "PNG")
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(folder / "pictures" / "b.webp", save_all=True, append_images=frames[1:])
    rows = [("a.png", "fox " * 100), ("b.webp", "a fox"), ("c.png", "owl " * 90)]
    table = pd.DataFrame({"file_name": [f"pictures/{name}" for name, _ in rows], "caption": [text for _, text in rows]})
    table.to_csv(folder / "metadata.csv", index=False)
    family, options = "stable_diffusion", {}
    if read_by_t5 is not None:
        family, options = "stable_diffusion_3", {"max_sequence_length": read_by_t5}
    tokenizer = open_tokenizer(ModelSettings(family=family, base=str(family_folder(family)), options=options))
    with caplog.at_level(logging.WARNING, "rsidiff_kedro"):
        found = check_pairs(folder, "caption", tokenizer)
    assert re.fullmatch(
        r"3 pairs; 2 images \('pictures/b.jpg' first\) in no row of the table, not used; "
        rf"{cut} of 3 captions cut, because a text encoder reads fewer tokens "
        rf"\('pictures/a.png' first: it reads {tokenizer.max_tokens} of \d+\); "
        r"1 image \('pictures/c.png'\) with an alpha channel or transparent color, put on white; "
        r"1 image \('pictures/b.webp'\) with several frames, of which only the first is used; "
        r"1 image \('pictures/a.png'\) not square, of which only the middle square is used",
        found,
    )
    (record,) = caplog.records
    assert record.message == f"sft.images ({folder}): {found.removeprefix('3 pairs; ')}"


@pytest.mark.parametrize("family", FAMILIES.names)
def test_no_library_prints_the_captions_that_it_cuts(folder, family_folder, family, capfd):
    opened = load_model(ModelSettings(family=family, base=str(family_folder(family))))
    capfd.readouterr()
    configured = yaml.safe_load((Path(__file__).parents[2] / "conf" / "logging.yml").read_text(encoding="utf-8"))
    levels = {name: each["level"] for name, each in configured["loggers"].items() if name.startswith("diffusers.")}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    opened.encode_prompts(["owl " * 200])
    for name in levels:
        logging.getLogger(name).setLevel(logging.NOTSET)
    assert levels and "owl" not in "".join(capfd.readouterr())


def test_sound_pairs_are_counted_and_nothing_is_logged(folder, caplog):
    for name in ("a.png", "b.jpg", "c.png"):
        Image.new("RGB", (8, 8)).save(folder / "pictures" / name)
    assert check_pairs(folder, "caption") == "3 pairs"
    assert not caplog.records


def test_transparent_pixels_are_white(folder, family_folder):
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((250, 200, 10, 255), (16, 16, 48, 48))
    image.save(folder / "pictures" / "a.png")
    first = given_to_the_model(folder, family_folder)[0]
    assert first.getpixel((0, 0)) == (255, 255, 255) and first.getpixel((16, 16)) == (250, 200, 10)


def test_a_missing_image_is_named(folder):
    (folder / "pictures" / "b.jpg").unlink()
    assert "1 images are missing, 'pictures/b.jpg' first" in refused(folder)


def test_a_name_that_leads_out_of_the_folder_counts_as_missing(folder):
    (folder / "metadata.csv").write_text("file_name,caption\n../../etc/passwd,a\n")
    assert "etc/passwd' first" in refused(folder)


@pytest.mark.parametrize("name", ["pictures/.b.jpg", ".pictures/b.jpg", "pictures/../pictures/.b.jpg"])
def test_a_hidden_image_which_counts_in_no_key_is_refused(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / "pictures/b.jpg").rename(folder / name)
    (folder / "metadata.csv").write_text(f"file_name,caption\n{name},a fox\n")
    message = refused(folder)
    assert f"1 images are missing, {name!r} first" in message and "and not hidden" in message


def test_an_image_without_a_caption_is_named(folder):
    (folder / "metadata.csv").write_text("file_name,caption\npictures/a.png,\n")
    assert "1 images have no caption, 'pictures/a.png' first" in refused(folder)


@pytest.mark.parametrize("name", ["a\0.png", "a" * 5000, "a\nb.png", "", "pictures"])
def test_what_can_name_no_file_counts_as_missing(folder, name):
    pd.DataFrame({"file_name": [name], "caption": ["a"]}).to_parquet(folder / "metadata.parquet")
    (folder / "metadata.csv").unlink()
    message = refused(folder)
    assert "1 images are missing" in message
    assert "\n" not in message and len(message.replace(str(folder), "")) < 300


@pytest.mark.parametrize("caption", ["None", "NA", "0012", "1.50", "true", "2024-01-01", " a "])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_captions_stay_as_they_are_written(folder, kind, caption):
    (folder / "metadata.csv").unlink()
    row = {"file_name": "pictures/a.png", "created_at": caption}
    text = f"file_name,created_at\npictures/a.png,{caption}\n" if kind == "csv" else json.dumps(row)
    (folder / f"metadata.{kind}").write_text(text)
    assert read_pairs(folder, "created_at")["text"].tolist() == [caption]


@pytest.mark.parametrize("caption", [["a", "b"], {"en": "a"}, 12, True])
def test_a_caption_that_is_no_text_is_refused(folder, caption):
    (folder / "metadata.csv").unlink()
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "pictures/a.png", "caption": caption}))
    assert "1 images have a caption that is no text, 'pictures/a.png' first" in refused(folder)


def test_file_names_may_be_the_captions(folder):
    pairs = read_pairs(folder, "file_name")
    assert (
        pairs["text"].tolist() == pairs["file_name"].tolist() == ["pictures/a.png", "pictures/b.jpg", "pictures/c.png"]
    )


@pytest.mark.parametrize("row", ["999999", "[1]", '"a"', "null", "[[]]"])
def test_a_row_that_is_none_is_refused(folder, row):
    (folder / "metadata.csv").unlink()
    (folder / "metadata.jsonl").write_text(f'{{"file_name": "pictures/a.png", "caption": "a"}}\n{row}\n')
    assert str(folder) in refused(folder)


def test_a_broken_table_is_refused(folder):
    (folder / "metadata.csv").write_bytes(b"")
    assert "metadata.csv: the file is empty" in refused(folder)


def png_of_size(width, height):
    """Return a PNG file that says that it has this size, and holds no pixels."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT", b"IEND")
    parts = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"".join([b"\x89PNG\r\n\x1a\n", *parts])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no image", "no image that can be read"),
        (png_of_size(40, 40), "no image that can be read"),
        (png_of_size(30000, 30000), r"no image that can be read \(Image size \(900000000 pixels\) exceeds"),
    ],
    ids=["text", "without pixels", "huge"],
)
def test_a_file_that_is_no_image_is_named(folder, family_folder, content, said):
    (folder / "pictures" / "a.png").write_bytes(content)
    opened = load_model(ModelSettings(base=str(family_folder("stable_diffusion"))))
    with pytest.raises(RealImageError, match=f"a.png: {said}"):
        encode_pairs(opened, folder, read_pairs(folder, "caption"), 2)


def encoded(folder, family_folder, pixels):
    """Return what the model is given of this array's image, as one mean per channel, [0, 255]."""
    Image.fromarray(pixels).save(folder / "deep.tiff")
    (folder / "metadata.csv").write_text("file_name,caption\ndeep.tiff,a\n")
    (image,) = given_to_the_model(folder, family_folder)
    return np.asarray(image).reshape(-1, 3).mean(axis=0).tolist()


def test_an_image_of_16_bits_keeps_its_brightness(folder, family_folder):
    assert encoded(folder, family_folder, np.full((32, 32), 100 * 257, np.uint16)) == [100, 100, 100]


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_an_image_whose_white_is_not_known_is_refused(folder, family_folder, kind):
    with pytest.raises(RealImageError, match=r"deep\.tiff: no image that can be read \(32 bits per pixel"):
        encoded(folder, family_folder, np.ones((32, 32), kind))
