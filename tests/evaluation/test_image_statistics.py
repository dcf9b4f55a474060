"""Statistics of one image."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from rsidiff_kedro.evaluation.image_statistics import saturation, sharpness


def test_saturation_is_zero_for_gray_and_one_for_a_pure_color():
    assert saturation(Image.new("RGB", (4, 4), (90, 90, 90))) == 0
    assert saturation(Image.new("RGB", (4, 4), (255, 0, 0))) == 1


def test_blur_lowers_sharpness_and_a_flat_image_has_none():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    assert sharpness(noise) > 2 * sharpness(noise.filter(ImageFilter.GaussianBlur(1))) > 0
    assert sharpness(Image.new("RGB", (4, 4), (90, 20, 10))) == 0


def test_sharpness_of_a_checkerboard_is_four_full_steps():
    board = Image.fromarray((np.indices((8, 8)).sum(axis=0) % 2 * 255).astype(np.uint8))
    assert sharpness(board) == pytest.approx(4)


def test_sharpness_refuses_an_image_without_inner_pixels():
    with pytest.raises(ValueError, match="3 x 3"):
        sharpness(Image.new("RGB", (2, 9)))
