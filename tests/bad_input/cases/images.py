"""Images: real pairs that cannot be used (pipeline sft), and image sets of earlier rounds that were damaged."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cases.case import Case, Place

FOLDER = "data/01_raw/real_images"
SFT = ("run", "--env=test", "--pipelines=sft")
LATE = (*SFT, "--params=sampler.num_inference_steps=1,evaluation.judge=null")
"""As the base was tested."""
SCORING = ("run", "--env=test", "--nodes=rsi.round_1.preference_selection.score_images")
ROUND = "03_primary/rsi/round_1/images"


def picture(mode: str = "RGB", kind: str = "PNG") -> bytes:
    """A plain image file."""
    buffer = io.BytesIO()
    Image.new(mode, (40, 40), 128).save(buffer, kind)
    return buffer.getvalue()


def _pairs(place: Place, table: str = "file_name,text\na.png,a red circle\n", name: str = "metadata.csv") -> None:
    """A sound image with this table."""
    place.write(f"{FOLDER}/a.png", picture())
    place.write(f"{FOLDER}/{name}", table)


def _table(wrong: str, says: str, table: str, name: str = "metadata.csv", process: bool = False) -> Case:
    return Case("images", wrong, says, SFT, lambda place: _pairs(place, table, name), process)


def _image(wrong: str, says: str, content: bytes) -> Case:
    def set_up(place: Place) -> None:
        _pairs(place)
        place.write(f"{FOLDER}/a.png", content)

    return Case("images", wrong, says, SFT, set_up)


def _broken_parquet(place: Place) -> None:
    _pairs(place)
    (place.project / FOLDER / "metadata.csv").unlink()
    place.write(f"{FOLDER}/metadata.parquet", b"PAR1")


def _outside(place: Place) -> None:
    place.write("data/01_raw/secret.png", picture())
    _pairs(place, "file_name,text\n../secret.png,a red circle\n")


def _link_outside(place: Place) -> None:
    outside = place.write("data/01_raw/secret.png", picture())
    _pairs(place, "file_name,text\nb.png,a red circle\n")
    (place.project / FOLDER / "b.png").symlink_to(outside)


def _link_to_itself(place: Place) -> None:
    _pairs(place, "file_name,text\nb.png,a red circle\n")
    (place.project / FOLDER / "b.png").symlink_to("b.png")


def _folder_alone(place: Place) -> None:
    place.write(f"{FOLDER}/a.png", picture())


def _two_tables(place: Place) -> None:
    _pairs(place)
    place.write(f"{FOLDER}/metadata.jsonl", '{"file_name": "a.png", "text": "a red circle"}')


def _cut(place: Place) -> None:
    place.finish_a_run()
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(buffer, "PNG")
    _pairs(place)
    place.write(f"{FOLDER}/a.png", buffer.getvalue()[:3000])


def _lost_page(place: Place) -> None:
    place.finish_a_run()
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "WEBP")
    _pairs(place)
    place.write(f"{FOLDER}/a.png", buffer.getvalue()[:4096] + bytes(len(buffer.getvalue()) - 4096))


_REAL = (
    Case(
        "images", "the folder's path is longer than any", "holds none of", (*SFT, f"--params=sft.images=/{'x' * 300}")
    ),
    _table(
        "a file's name is longer than any", "1 images are missing", f"file_name,text\n{'x' * 300}.png,a red circle\n"
    ),
    Case("images", "the folder of real images is missing", "holds none of metadata.csv", SFT, process=True),
    Case("images", "the folder has no table", "give a folder in the imagefolder layout", SFT, _folder_alone),
    _table("the table is empty", "metadata.csv: the file is empty", ""),
    _table("the table has no rows", "has no rows", "file_name,text\n"),
    _table("the table has no captions", "no column 'text'; there are file_name", "file_name\na.png\n"),
    _table("the table is no JSON", "metadata.jsonl: line 1 is not valid JSON", "{", "metadata.jsonl"),
    Case("images", "the table is no Parquet", "metadata.parquet: not a valid Parquet file", SFT, _broken_parquet),
    _table("an image is missing", "1 images are missing, 'b.png' first", "file_name,text\nb.png,a fox\n"),
    Case("images", "a path leaves the folder", "1 images are missing, '../secret.png' first", SFT, _outside),
    Case("images", "a link leaves the folder", "1 images are missing, 'b.png' first", SFT, _link_outside),
    Case("images", "a link leads to itself", "1 images are missing, 'b.png' first", SFT, _link_to_itself),
    _table("a caption is blank", "1 images have no caption, 'a.png' first", "file_name,text\na.png,  \n"),
    _table(
        "a caption is a number", "have a caption that is no text", '{"file_name": "a.png", "text": 7}', "metadata.jsonl"
    ),
    _table(
        "a caption with a lone quotation mark",
        "not a valid csv file (the row that begins in line 2",
        'file_name,text\na.png,"Stop" sign\n',
    ),
    Case("images", "the folder has two tables", "remove all but one", SFT, _two_tables),
    _image("an image is a web page", "a.png: no image that can be read", b"<html>404</html>"),
    _image("an image of 32 bits a pixel", "save it as PNG with 8 or 16", picture("F", "TIFF")),
    Case("images", "an image is cut", "a.png: no image that can be read", LATE, _cut, late=True),
    Case("images", "an image's second half is zeros", "was not finished", LATE, _lost_page, late=True),
    Case(
        "images", "real images, but rsi was never run", "run what makes it first: kedro run --pipelines=", SFT, _pairs
    ),
)


def _damaged(wrong: str, says: str, damage: Callable[[Path], None], late: bool = False) -> Case:
    """A case of an image set that the first round drew and scores."""

    def set_up(place: Place) -> None:
        damage(next((place.finish_a_run() / ROUND).glob("*/images")))

    return Case("images", wrong, says, SCORING, set_up, late=late)


def _lose_an_image(folder: Path) -> None:
    min((folder / "images").iterdir()).unlink()


def _lose_a_column(folder: Path) -> None:
    path = folder / "metadata.parquet"
    pd.read_parquet(path).drop(columns="text").to_parquet(path)


def _cut_the_table(folder: Path) -> None:
    path = folder / "metadata.parquet"
    path.write_bytes(path.read_bytes()[:100])


def _cut_the_latents(folder: Path) -> None:
    path = folder / "latents.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def _spoil_an_image(folder: Path) -> None:
    min((folder / "images").iterdir()).write_bytes(b"\x89PNG")


_DAMAGED = (
    _damaged("a round's image is gone", "make the image set anew", _lose_an_image),
    _damaged("a round's table lacks a column", "lacks the columns ['text']; make the set anew", _lose_a_column),
    _damaged("a round's table is cut", "is no readable parquet file", _cut_the_table),
    _damaged("a round's latents are cut", "holds no tensor 'latents' that can be read", _cut_the_latents),
    _damaged("a round's image is cut", "make the image set anew", _spoil_an_image, late=True),
)

CASES = (*_REAL, *_DAMAGED)
