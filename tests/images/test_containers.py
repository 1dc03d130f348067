"""What counts as images, and the message for everything else."""

import pathlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skhash._images import check_images, image_path, is_pil_image
from skhash.features import PixelFeatures

GRAY = np.zeros((2, 4, 5), dtype=np.uint8)


@pytest.mark.parametrize("array", [GRAY, GRAY[..., np.newaxis], np.zeros((2, 4, 5, 3), dtype=np.uint8)])
def test_arrays_of_images_pass_unchanged(array):
    assert check_images(array, name="Name") is array


@pytest.mark.parametrize("container", [list, tuple, lambda paths: np.array(paths, dtype=object), np.array])
def test_sequences_of_paths_pass_as_a_list(container):
    assert check_images(container(["a.png", "b.png"]), name="Name") == ["a.png", "b.png"]


def test_series_of_paths_from_a_data_frame_passes():
    pandas = pytest.importorskip("pandas", reason="a column of a data frame")
    frame = pandas.DataFrame({"path": ["a.png", "b.png"]}, index=[7, 9])
    assert check_images(frame["path"], name="Name") == ["a.png", "b.png"]
    with pytest.raises(ValueError, match=r"2 dimensions: pass one dimension, e\.g\. the column frame\['path'\]"):
        check_images(frame[["path"]], name="Name")


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (load_digits().images, ValueError, r"dtype float64: Name takes uint8 pixels 0-255; multiply by a fixed number"),
        (GRAY.astype(np.int64), ValueError, "dtype int64"),
        (GRAY.astype(bool), ValueError, "dtype bool"),
        (GRAY[0], ValueError, r"shape \(4, 5\): images have shape \(n, height, width\)"),
        (load_digits().data, ValueError, r"shape \(1797, 64\).*X\.reshape\(len\(X\), height, width\)"),
        (np.zeros((2, 3, 8, 8), np.uint8), ValueError, r"X\.transpose\(0, 2, 3, 1\)"),
        (np.zeros((2, 8, 8, 4), np.uint8), ValueError, r"shape \(2, 8, 8, 4\)"),
        (GRAY[:0], ValueError, "got 0 images"),
        ([], ValueError, "got 0 images"),
        (GRAY[:, :0], ValueError, "without pixels"),
        ("folder", TypeError, "single path 'folder': pass a list of image files"),
        (pathlib.Path("folder"), TypeError, "single path 'folder'"),
        (b"folder", TypeError, "single path"),
        (None, TypeError, "type NoneType"),
        ((path for path in ["a.png"]), TypeError, "type generator"),
        (["a.png", 3], TypeError, "image 1 of type int"),
        (["a.png", b"b.png"], TypeError, "image 1 of type bytes"),
        ([GRAY[0], GRAY[0] / 255], ValueError, "image 1 of dtype float64"),
        ([GRAY[0], GRAY], ValueError, r"image 1 of shape \(2, 4, 5\)"),
        ([GRAY[0], GRAY[0, :0]], ValueError, "image 1 without pixels"),
        (np.array([["a.png"]]), ValueError, "2 dimensions"),
    ],
)
def test_everything_else_is_refused_in_one_line_that_names_the_caller(images, error, message):
    with pytest.raises(error, match=message) as caught:
        check_images(images, name="Name")
    assert "Name" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fix_named_for_digits_images_does_not_depend_on_the_batch():
    """The error once recommended X.max(), by which a query alone got other features than in the database."""
    X = load_digits().images[:5].clip(0, 12)
    X[0, 0, 0] = 16
    with pytest.raises(ValueError, match="dtype float64") as caught:
        check_images(X, name="Name")
    assert "max(" not in str(caught.value)
    assert "255 / 16 for scikit-learn's digits) and cast with .round().astype(numpy.uint8)" in str(caught.value)

    def features(images):
        return PixelFeatures(8).fit_transform((images * (255 / 16)).round().astype(np.uint8))

    np.testing.assert_allclose(features(X), X.reshape(5, -1) / 16, atol=0.5 / 255 + 1e-7)
    np.testing.assert_array_equal(features(X[1:]), features(X)[1:])


def test_kinds_of_items_are_told_apart():
    image = pytest.importorskip("PIL.Image", reason="makes a PIL image").new("L", (2, 2))
    assert is_pil_image(image)
    assert not is_pil_image(GRAY)
    assert image_path(pathlib.Path("a") / "b.png") == str(pathlib.Path("a") / "b.png")
    assert image_path("a.png") == "a.png"
    assert image_path(image) is None


def test_masked_pixels_are_refused():
    images = np.ma.array(np.zeros((2, 4, 4), dtype=np.uint8), mask=np.eye(4, dtype=bool)[None].repeat(2, axis=0))
    for container in (images, list(images)):
        with pytest.raises(ValueError, match="values are masked"):
            check_images(container, name="reader")
