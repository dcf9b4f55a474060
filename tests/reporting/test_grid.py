"""Labelled rows of images."""

import numpy as np
import pytest
from PIL import Image

from rsidiff_kedro.reporting.grid import GAP, LABEL_WIDTH, fitted, labelled_grid


def squares(side: int, *colors: str) -> list[Image.Image]:
    return [Image.new("RGB", (side, side), color) for color in colors]


def test_small_images_are_enlarged_and_large_ones_stay() -> None:
    assert labelled_grid([("a", squares(32, "red", "blue"))]).height == 128 + 2 * GAP
    sheet = labelled_grid([("a", squares(300, "red", "blue")), ("b", squares(300, "lime"))])
    assert sheet.height == 2 * 300 + 3 * GAP
    assert sheet.getpixel((LABEL_WIDTH + GAP, GAP)) == (255, 0, 0)
    assert sheet.getpixel((LABEL_WIDTH + GAP + 300 + GAP, GAP)) == (0, 0, 255)
    assert sheet.getpixel((LABEL_WIDTH + GAP, GAP + 300 + GAP)) == (0, 255, 0)


@pytest.mark.parametrize("label", ["round 6\na red circle", "very long words " * 200, "x" * 5000, "\u2603\n\n猫", ""])
def test_a_label_stays_beside_its_row(label: str) -> None:
    sheet = np.asarray(labelled_grid([(label, squares(32, "red")), ("", squares(32, "red"))]))
    assert (sheet[:, LABEL_WIDTH + GAP : LABEL_WIDTH + GAP + 128][GAP : GAP + 128] == (255, 0, 0)).all()
    assert (sheet[GAP + 128 + 2 :, : LABEL_WIDTH + GAP] == 255).all()


@pytest.mark.parametrize(
    ("label", "most", "shown"),
    [
        ("round 6\na red circle", 2, ["round 6", "a red circle"]),
        ("one\ntwo\nthree circles of many colors", 2, ["one", "two three circles of ..."]),
        ("word " * 20, 2, ["word word word word word", "word word word word ..."]),
    ],
)
def test_a_label_is_cut_between_words_and_only_where_it_does_not_fit(label: str, most: int, shown: list[str]) -> None:
    assert fitted(label, most) == shown


def test_no_image_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        labelled_grid([("a", [])])
