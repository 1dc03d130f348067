"""PixelFeatures."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skhash.features import PixelFeatures


def test_gray_features_are_pixels_divided_by_255_in_row_order():
    image = np.array([[0, 51], [102, 255]], dtype=np.uint8)
    features = PixelFeatures(2).fit_transform(image[np.newaxis])
    np.testing.assert_allclose(features, [[0, 0.2, 0.4, 1]], rtol=1e-6)
    assert features.dtype == np.float32


def test_color_features_are_in_order_row_column_channel(photos):
    small = photos[:, :4, :4]
    np.testing.assert_allclose(
        PixelFeatures(4, color="rgb").fit_transform(small), small.reshape(12, -1) / 255, rtol=1e-6
    )


def test_files_and_pil_images_and_arrays_give_the_same_features(photos, png_paths):
    image = pytest.importorskip("PIL.Image", reason="makes PIL images")
    expected = PixelFeatures(8).fit_transform(photos)
    for X in (png_paths, [str(path) for path in png_paths], [image.fromarray(p) for p in photos], list(photos)):
        np.testing.assert_array_equal(PixelFeatures(8, n_jobs=2).fit_transform(X), expected)


def test_images_of_differing_sizes_are_brought_to_one(photos):
    pytest.importorskip("PIL.Image", reason="resizes")
    mixed = [photos[0], photos[1][:10], photos[2][:, :7, :1], photos[3][:, :, 0]]
    assert PixelFeatures(8).fit_transform(mixed).shape == (4, 64)


@pytest.mark.parametrize(("color", "n_features"), [("gray", 25), ("rgb", 75)])
def test_names_of_features(color, n_features, photos):
    estimator = PixelFeatures(5, color=color).fit(photos)
    assert estimator.n_features_out_ == n_features
    assert estimator.get_feature_names_out()[-1] == f"pixelfeatures{n_features - 1}"


def test_transform_before_fit_raises_not_fitted(photos):
    with pytest.raises(NotFittedError):
        PixelFeatures().transform(photos)


def test_pickle_and_clone(photos):
    pytest.importorskip("PIL", reason="resizes")
    estimator = PixelFeatures(8, color="rgb").fit(photos)
    expected = estimator.transform(photos)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(estimator)).transform(photos), expected)
    np.testing.assert_array_equal(clone(estimator).fit_transform(photos), expected)


def test_digits_in_a_grid_search_score_as_the_flat_pixels_of_scikit_learn():
    X, y = load_digits(return_X_y=True)
    X, y = X[:300], y[:300]
    images = (X.reshape(-1, 8, 8) * 15).astype(np.uint8)
    pipe = make_pipeline(PixelFeatures(8), LogisticRegression(max_iter=500))
    grid = {"C": [0.1, 1.0]}
    search = GridSearchCV(pipe, {"logisticregression__C": grid["C"]}, cv=3, error_score="raise").fit(images, y)
    oracle = GridSearchCV(LogisticRegression(max_iter=500), grid, cv=3).fit(X * 15 / 255, y)
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], oracle.cv_results_["mean_test_score"])


def run_without_pillow(code):
    blocked = "import sys; sys.modules['PIL'] = sys.modules['PIL.Image'] = None\n"
    setup = "import numpy as np\nfrom skhash.features import PixelFeatures\nX = np.zeros((2, 8, 8), np.uint8)\n"
    return subprocess.run(
        [sys.executable, "-c", blocked + setup + code], capture_output=True, text=True, check=False, timeout=60
    )


def test_arrays_of_the_final_size_need_neither_pillow_nor_torch():
    done = run_without_pillow("PixelFeatures(8, color='rgb').fit_transform(X)\nassert 'torch' not in sys.modules")
    assert done.returncode == 0, done.stderr


def test_find_unreadable_images_needs_no_pillow_for_arrays():
    done = run_without_pillow(
        "from skhash.features import find_unreadable_images\nassert not find_unreadable_images(X)"
    )
    assert done.returncode == 0, done.stderr


def test_resizing_without_pillow_says_what_to_install():
    done = run_without_pillow("PixelFeatures(4).fit_transform(X)")
    last_line = done.stderr.strip().splitlines()[-1]
    assert "PixelFeatures (to resize images) needs 'PIL'" in last_line
    assert "pip install 'skhash[images]'" in last_line
