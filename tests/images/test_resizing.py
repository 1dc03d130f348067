"""One size and one number of channels for every image."""

import numpy as np
import pytest

from skhash._images import read_image

Image = pytest.importorskip("PIL.Image", reason="compares with Pillow")


def read(item, size=(4, 6), color="rgb"):
    return read_image(item, size=size, color=color, name="Name")


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(256, size=(4, 6, 3), dtype=np.uint8)


def test_resizing_is_pillow_bicubic_to_height_and_width(pixels):
    expected = np.asarray(Image.fromarray(pixels).resize((9, 5), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(read(pixels, size=(5, 9)), expected)


def test_gray_levels_of_arrays_equal_those_of_pillow(pixels):
    expected = np.asarray(Image.fromarray(pixels).convert("L"))
    np.testing.assert_array_equal(read(pixels, color="gray")[:, :, 0], expected)
    np.testing.assert_array_equal(read(Image.fromarray(pixels), color="gray")[:, :, 0], expected)


def test_gray_image_becomes_three_equal_channels(pixels):
    gray = pixels[:, :, 0]
    expected = np.stack([gray] * 3, axis=2)
    for item in (gray, gray[:, :, np.newaxis], Image.fromarray(gray)):
        np.testing.assert_array_equal(read(item), expected)
