"""Every estimator, found by discovery, is the same after it was saved and loaded, and goes on learning the same way."""

import io

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

import skhash
from tests.estimators import ESTIMATORS, HASHERS, TAKES_IMAGES, instances

DIGITS, LABELS = load_digits(return_X_y=True)
X, Y, NEW, NEW_Y = DIGITS[:400], LABELS[:400], DIGITS[400:500], LABELS[400:500]
CODES = np.random.default_rng(0).integers(256, size=(500, 4), dtype=np.uint8)
IMAGES = np.random.default_rng(0).integers(256, size=(20, 16, 16, 3), dtype=np.uint8)

every_estimator = pytest.mark.parametrize("estimator", instances(ESTIMATORS.values()), ids=repr)
every_hasher = pytest.mark.parametrize("hasher", instances(HASHERS.values()), ids=repr)


def saved_and_loaded(estimator, **options):
    file = io.BytesIO()
    skhash.save(estimator, file)
    file.seek(0)
    return skhash.load(file, **options)


def data_for(estimator):
    """Rows to fit, their labels, and other rows."""
    if type(estimator) in TAKES_IMAGES:
        return IMAGES, None, IMAGES[:5]
    if type(estimator).__name__.startswith("Hamming"):
        return CODES[:400], LABELS[:400], CODES[400:]
    return X, Y, NEW


def results(estimator, rows):
    """What the methods of an estimator answer."""
    found = {}
    for name in ("project", "transform", "predict", "decision_function"):
        if hasattr(estimator, name):
            found[name] = getattr(estimator, name)(rows)
    if hasattr(estimator, "kneighbors"):
        for name in ("kneighbors", "radius_neighbors"):
            distances, ids = getattr(estimator, name)(rows)
            found[name] = np.concatenate([np.ravel(distances), np.ravel(ids)]) if name == "kneighbors" else None
            if name == "radius_neighbors":
                found[name] = np.concatenate([*distances, *ids])
    return {name: value.toarray() if hasattr(value, "toarray") else value for name, value in found.items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert one
    for name, value in one.items():
        assert value.dtype == other[name].dtype
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def parameters(estimator):
    return {name: repr(value) for name, value in estimator.get_params().items()}


@every_estimator
def test_unfitted(estimator):
    loaded = saved_and_loaded(estimator)
    assert type(loaded) is type(estimator)
    assert parameters(loaded) == parameters(estimator)
    assert vars(loaded).keys() == vars(estimator).keys()


@every_estimator
def test_fitted(estimator):
    if type(estimator) in TAKES_IMAGES:
        pytest.importorskip("PIL", reason="reads images with Pillow")
    if type(estimator).__name__ == "CNNFeatures":
        pytest.importorskip("torch", reason="runs a network")
    rows, labels, new = data_for(estimator)
    fitted = clone(estimator).fit(rows, labels)
    loaded = saved_and_loaded(fitted)
    assert parameters(loaded) == parameters(fitted)
    assert_same(results(loaded, new), results(fitted, new))
    # A second time, from what was loaded.
    assert_same(results(saved_and_loaded(loaded), new), results(fitted, new))


@every_hasher
def test_learning_goes_on_the_same(hasher):
    if not hasattr(hasher, "partial_fit"):
        pytest.skip("learns from all rows at once")
    fitted = clone(hasher).partial_fit(X, Y)
    loaded = saved_and_loaded(fitted)
    assert_same(results(loaded.partial_fit(NEW, NEW_Y), NEW), results(fitted.partial_fit(NEW, NEW_Y), NEW))


@every_hasher
def test_arrays_that_were_shared_are_shared(hasher):
    fitted = clone(hasher).fit(X, Y)
    loaded = saved_and_loaded(fitted)

    def arrays(value, path=""):
        for name, item in vars(value).items():
            if isinstance(item, np.ndarray):
                yield f"{path}{name}", item
            elif type(item).__module__.startswith("skhash.hashers"):
                yield from arrays(item, f"{path}{name}.")

    def groups(estimator):
        found = dict(arrays(estimator))
        return {(a, b) for a in found for b in found if found[a] is found[b]}

    assert groups(loaded) == groups(fitted)


@pytest.mark.parametrize("single", [np.float32, np.float16])
def test_single_precision_stays(single):
    fitted = skhash.ITQ(8, random_state=0).fit(X.astype(single))
    loaded = saved_and_loaded(fitted)
    assert_same(results(loaded, NEW.astype(single)), results(fitted, NEW.astype(single)))


def test_frames_keep_the_names_of_their_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"pixel {number}" for number in range(64)])
    loaded = saved_and_loaded(skhash.ITQ(8, random_state=0).fit(frame))
    assert loaded.feature_names_in_.tolist() == frame.columns.tolist()
    with pytest.raises(ValueError, match="feature names"):
        loaded.transform(frame.rename(columns={"pixel 0": "other"}))
