"""Contact sheets."""

import numpy as np
import pytest
from PIL import Image

from rsidiff_kedro.reporting.contact_sheet import contact_sheet, scale_for


def red(size: int = 4) -> Image.Image:
    return Image.new("RGB", (size, size), "red")


def test_images_stand_in_rows_from_left_to_right() -> None:
    colors = ["red", "green", "blue"]
    sheet = np.asarray(contact_sheet([Image.new("RGB", (4, 4), color) for color in colors], columns=2, scale=2))
    assert sheet.shape == (6 + 2 * 14, 6 + 2 * 14, 3)
    assert tuple(sheet[10, 10]) == (255, 0, 0)
    assert tuple(sheet[10, 24]) == (0, 128, 0)
    assert tuple(sheet[24, 10]) == (0, 0, 255)
    assert tuple(sheet[24, 24]) == (255, 255, 255)


def test_a_tiny_image_is_enlarged_by_whole_sharp_pixels() -> None:
    image = Image.fromarray(np.array([[[0] * 3, [255] * 3]], np.uint8))
    sheet = np.asarray(contact_sheet([image], columns=1, scale=scale_for([image])))
    assert set(np.unique(sheet)) == {0, 255}


def test_a_large_image_is_reduced() -> None:
    assert contact_sheet([red(512)], 1, scale_for([red(512)])).width < 150


def test_captions_stand_below_and_may_hold_any_character() -> None:
    plain, captioned = (contact_sheet([red(64)], 1, 1, captions) for captions in (None, ["☃ 红 a red circle " * 9]))
    assert captioned.height > plain.height
    assert captioned.width == plain.width


def test_no_image_gives_a_white_sheet() -> None:
    assert np.asarray(contact_sheet([], 3, scale_for([]))).min() == 255


@pytest.mark.parametrize(("columns", "scale", "captions"), [(0, 1, None), (1, 0, None), (1, 1, ["a", "b"])])
def test_what_makes_no_sheet_is_refused(columns: int, scale: float, captions: list[str] | None) -> None:
    with pytest.raises(ValueError):
        contact_sheet([red()], columns, scale, captions)
