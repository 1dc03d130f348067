"""Sketches against the bound of their paper, and SketchingHash against PCAH and ITQ."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.datasets import load_digits

from skhash import ITQ, PCAH, SketchingHash
from skhash.hashers._sketch import FrequentDirections

DIGITS = load_digits().data


def scatter(X):
    centred = X - X.mean(axis=0)
    return centred.T @ centred


def check_bound(sketch, X):
    assert len(sketch.rows) < sketch.size
    assert sketch.n_samples == len(X)
    np.testing.assert_allclose(sketch.mean, X.mean(axis=0), atol=1e-9)
    errors = np.linalg.eigvalsh(scatter(X) - sketch.rows.T @ sketch.rows)
    total = np.trace(scatter(X))
    assert errors[0] >= -1e-9 * total
    assert errors[-1] <= total / sketch.size * (1 + 1e-9)


@pytest.mark.parametrize("size", [2, 5, 16, 40])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_scatter_of_a_sketch_is_as_close_as_the_paper_proves(size, container):
    check_bound(FrequentDirections.from_rows(container(DIGITS), size), DIGITS)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=5), st.integers(2, 12), st.integers(0, 99))
def test_merged_sketches_keep_the_bound(n_rows, size, seed):
    random = np.random.RandomState(seed)
    parts = [random.randn(n, 9) * np.arange(1, 10) + 5 * random.randn(9) for n in n_rows]
    sketches = [FrequentDirections.from_rows(part, size) for part in parts]
    merged = sketches[0]
    for sketch in sketches[1:]:
        merged = merged.merge(sketch)
    check_bound(merged, np.concatenate(parts))


def test_two_rows_by_hand():
    """Centred, (3, 0), (-3, 0), (0, 1), (0, -1) have squared singular values 18 and 2: one row of length 4 is left."""
    X = np.array([[3.0, 0], [-3, 0], [0, 1], [0, -1]]) + 7
    sketch = FrequentDirections.from_rows(X, 2)
    # Two rows at a time: 18 and 0, then 18 and 2, of which 2 is subtracted.
    np.testing.assert_allclose(np.abs(sketch.rows), [[4, 0]], atol=1e-12)


def test_sketch_that_is_large_enough_loses_nothing():
    sketch = FrequentDirections.from_rows(DIGITS, 62)
    np.testing.assert_allclose(sketch.rows.T @ sketch.rows, scatter(DIGITS), atol=1e-6)
    whole = SketchingHash(16, rotation="random", random_state=0).fit(DIGITS)
    np.testing.assert_allclose(whole.components_, PCAH(16).fit(DIGITS).components_, atol=1e-8)
    itq = ITQ(16, random_state=0).fit(DIGITS)
    learned = SketchingHash(16, random_state=0).fit(DIGITS)
    np.testing.assert_allclose(learned.project(DIGITS), itq.project(DIGITS), atol=1e-6)


@pytest.mark.parametrize("rotation", ["random", "itq"])
def test_chunks_give_the_subspace_of_the_whole(rotation):
    hasher = SketchingHash(8, sketch_size=32, rotation=rotation, random_state=0)
    for chunk in np.array_split(DIGITS, 7):
        hasher.partial_fit(chunk)
    components = PCAH(8).fit(DIGITS).components_
    # Cosines of the principal angles between the two subspaces.
    assert np.linalg.svd(hasher.components_ @ components.T)[1].min() > 0.97
    np.testing.assert_allclose(hasher.mean_, DIGITS.mean(axis=0))
    np.testing.assert_allclose(hasher.rotation_ @ hasher.rotation_.T, np.eye(8), atol=1e-10)
    np.testing.assert_allclose(hasher.components_ @ hasher.components_.T, np.eye(8), atol=1e-10)


def test_small_chunk_does_not_scramble_the_codes():
    """The paper draws a new rotation with every chunk, which changes half of all bits."""
    hasher = SketchingHash(16, sketch_size=32, random_state=0).fit(DIGITS[:1000])
    before = hasher.transform(DIGITS)
    hasher.partial_fit(DIGITS[1000:1020])
    assert 0 < np.unpackbits(before ^ hasher.transform(DIGITS)).mean() < 0.02


def test_kept_hash_functions_give_the_same_bits_while_the_sketch_goes_on():
    by_class = DIGITS[np.argsort(load_digits().target, kind="stable")]
    hasher = SketchingHash(8, keep_hash_functions=True, random_state=0).fit(by_class[:200])
    before = hasher.project(DIGITS)
    for chunk in np.array_split(by_class[200:], 3):
        hasher.partial_fit(chunk)
        np.testing.assert_array_equal(hasher.project(DIGITS), before)
    exact = PCAH(8, keep_hash_functions=True).fit(by_class[:200]).partial_fit(by_class[200:])
    assert hasher.kept_variance_ratio_ == pytest.approx(exact.kept_variance_ratio_)
    hasher.set_params(keep_hash_functions=False).partial_fit(by_class[:20])
    assert hasher.kept_variance_ratio_ == pytest.approx(1)


@pytest.mark.parametrize(
    ("parameters", "rows", "message"),
    [
        ({"n_bits": 40, "sketch_size": 40}, DIGITS, "n_bits=40 must be < sketch_size=40; raise sketch_size"),
        ({"n_bits": 10}, DIGITS[:10], "n_bits=10 must be < n_samples=10"),
        ({"n_bits": 62}, DIGITS, "n_bits=62 must be <= 61, the rank of the training data"),
        ({"n_bits": 2}, np.ones((9, 3)), "n_bits=2 must be <= 0, the rank of the training data"),
        ({"n_bits": 2}, DIGITS * 1e200, "features are so large that their products overflow"),
    ],
    ids=["sketch", "samples", "rank", "constant", "overflow"],
)
def test_more_bits_than_data_or_sketch_support_are_refused(parameters, rows, message):
    with pytest.raises(ValueError, match=f"SketchingHash: {message}"):
        SketchingHash(**parameters).fit(rows)
