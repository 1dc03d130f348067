"""StoredVectors against a plain array to which the same is done."""

import pickle

import numpy as np
import pytest

from skhash.neighbors._stored_vectors import StoredVectors

RNG = np.random.RandomState(0)
VECTORS = RNG.randn(30, 4)


def on_disk(tmp_path, dtype):
    np.save(tmp_path / "vectors.npy", VECTORS.astype(dtype))
    return np.load(tmp_path / "vectors.npy", mmap_mode="r")


@pytest.fixture(params=["memory", "float16", "float32", "float64"])
def given_vectors(request, tmp_path):
    return VECTORS if request.param == "memory" else on_disk(tmp_path, request.param)


def test_rows_stay_those_of_the_database(given_vectors):
    stored = StoredVectors(given_vectors, "database 0", name="vectors")
    model = np.asarray(given_vectors, dtype=stored.dtype)
    for n_added in (3, 0, 5):
        before, model_before = stored, model
        removed = RNG.rand(len(model)) < 0.2
        stored = stored.without(removed, "shorter")
        assert stored.database == "shorter"
        new = RNG.randn(n_added, 4)
        stored = stored.extended(stored.check(new), "longer")
        assert stored.database == "longer"
        model = np.concatenate([model[~removed], new.astype(stored.dtype)])
        assert stored.shape == model.shape
        assert len(stored) == len(model)
        rows = RNG.permutation(len(model))
        np.testing.assert_array_equal(stored[rows], model[rows])
        np.testing.assert_array_equal(stored[5:50], model[5:50])
        assert stored[rows].dtype == stored.dtype
        np.testing.assert_array_equal(before[:], model_before)
    empty = stored.without(np.ones(len(model), dtype=bool), "empty")
    assert empty.shape == (0, 4)
    assert empty[np.arange(0)].shape == (0, 4)


def test_memory_maps_are_not_copied_and_arrays_are(tmp_path):
    mapped = on_disk(tmp_path, np.float32)
    assert np.shares_memory(StoredVectors(mapped, "database", name="vectors")._mapped, mapped)
    array = VECTORS.astype(np.float32)
    stored = StoredVectors(array, "database", name="vectors")
    expected = array[:3].copy()
    array[:] = 0
    np.testing.assert_array_equal(stored[:3], expected)


@pytest.mark.parametrize(
    ("dtype", "compared"),
    [(np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64), (np.uint8, np.float32)],
)
def test_maps_are_compared_in_their_dtype_or_float32(tmp_path, dtype, compared):
    stored = StoredVectors(on_disk(tmp_path, dtype), "database", name="vectors")
    assert stored.dtype == compared
    assert stored.check(VECTORS).dtype == compared
    assert StoredVectors(VECTORS.astype(dtype), "database", name="vectors").dtype == np.float32


def test_pickles_hold_the_numbers_of_a_map(tmp_path):
    stored = StoredVectors(on_disk(tmp_path, np.float32), "database", name="vectors")
    text = pickle.dumps(stored)
    (tmp_path / "vectors.npy").unlink()
    loaded = pickle.loads(text)
    np.testing.assert_array_equal(loaded[:], VECTORS.astype(np.float32))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (VECTORS[:, :3], "vectors have 3 features, those of the database 4"),
        (VECTORS[0], r"vectors must be real numbers of shape \(n_samples, n_features\)"),
        (np.full((2, 4), np.inf), "vectors contain inf at row 0, column 0"),
        (np.full((2, 4), 1e39), "not finite in float32"),
        (np.full((2, 4), "a"), "vectors must be real numbers"),
    ],
)
def test_bad_vectors_are_refused_in_one_line(vectors, message):
    stored = StoredVectors(VECTORS, "database", name="vectors")
    with pytest.raises(ValueError, match=message) as raised:
        stored.check(vectors)
    assert "\n" not in str(raised.value)
