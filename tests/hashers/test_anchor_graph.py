"""Anchor graph hashing against whole matrices, and cases with known answers."""

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import pdist
from sklearn.datasets import load_digits

from skhash import LSH, AnchorGraphHash
from skhash.codes import unpack_codes
from skhash.metrics import mean_average_precision

DIGITS, LABELS = load_digits(return_X_y=True)


def plain_weights(hasher, X):
    """Liu et al. 2011, equation 2, row by row."""
    Z = np.zeros((len(X), len(hasher.anchors_)))
    for i, row in enumerate(X):
        distances = ((hasher.anchors_ - row) ** 2).sum(axis=1)
        for j in np.argsort(distances, kind="stable")[: hasher.n_nearest]:
            Z[i, j] = np.exp(-distances[j] / (2 * hasher.width_**2))
    return Z / Z.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module", params=[1, 2])
def fitted(request):
    return AnchorGraphHash(7, n_layers=request.param, n_anchors=40, n_nearest=6, random_state=0).fit(DIGITS[:300])


def test_functions_are_eigenvectors_of_the_graph_of_all_rows(fitted):
    Z = plain_weights(fitted, DIGITS[:300])
    A = Z @ np.diag(1 / Z.sum(axis=0)) @ Z.T
    n_functions = 7 if fitted.n_layers == 1 else 4
    expected = np.linalg.eigvalsh(A)[::-1][1 : 1 + n_functions]
    np.testing.assert_allclose(fitted.eigenvalues_, expected, atol=1e-9)
    functions = fitted.project(DIGITS[:300])[:, :n_functions]
    np.testing.assert_allclose(functions, Z @ fitted.weights_, atol=1e-6)
    np.testing.assert_allclose(A @ functions, functions * expected, atol=1e-6)
    np.testing.assert_allclose(functions.T @ functions, 300 * np.eye(n_functions), atol=1e-4)
    np.testing.assert_allclose(functions.sum(axis=0), 0, atol=1e-6)


def test_thresholds_of_the_second_layer_minimise_the_roughness_of_balanced_bits():
    hasher = AnchorGraphHash(8, n_layers=2, n_anchors=40, n_nearest=6, random_state=0).fit(DIGITS[:300])
    Z = plain_weights(hasher, DIGITS[:300])
    L = np.eye(300) - Z @ np.diag(1 / Z.sum(axis=0)) @ Z.T
    for y, (upper, lower) in zip((Z @ hasher.weights_).T, hasher.thresholds_.T, strict=True):
        n_above = (y >= 0).sum()

        f = np.where(y >= 0, y - upper, lower - y)
        assert f.sum() == pytest.approx(0, abs=1e-6)
        for step in (-0.1, 0.1):
            moved = np.where(y >= 0, y - upper - step * (300 - n_above) / 300, lower + step * n_above / 300 - y)
            assert moved.sum() == pytest.approx(0, abs=1e-6)
            assert moved @ L @ moved > f @ L @ f


def test_second_layer_cuts_each_side_of_zero():
    hasher = AnchorGraphHash(5, n_layers=2, n_anchors=40, n_nearest=6, random_state=0).fit(DIGITS[:300])
    projections = hasher.project(DIGITS[300:400])
    first, second = projections[:, :2], projections[:, 3:]
    upper, lower = hasher.thresholds_
    np.testing.assert_allclose(second, np.where(first >= 0, first - upper, lower - first), atol=1e-9)


def test_two_far_clusters_differ_in_the_first_bit():
    """No row joins them: the first function is constant on each, with mean 0, and its eigenvalue is 1."""
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.randn(20, 2), rng.randn(20, 2) + 100])
    hasher = AnchorGraphHash(1, n_anchors=8, random_state=0).fit(X)
    assert hasher.eigenvalues_[0] == pytest.approx(1.0)
    values = hasher.project(X)[:, 0]
    np.testing.assert_allclose(np.abs(values), 1.0, atol=1e-6)
    assert len(set(values[:20] > 0)) == len(set(values[20:] > 0)) == 1
    assert values[0] * values[-1] < 0
    second = AnchorGraphHash(2, n_layers=2, n_anchors=8, random_state=0).fit(X)
    assert np.isfinite(second.thresholds_).all()


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_codes_of_a_graph_in_parts_do_not_depend_on_rounding(n_layers, seed):
    """Up to half of all bits differed: rounding chose among functions of equal eigenvalues, and the signs of zeros."""
    X, new = DIGITS[:400], DIGITS[400:700]

    def hashed(as_rows):
        hasher = AnchorGraphHash(16, n_layers=n_layers, n_anchors=80, random_state=seed).fit(as_rows(X))
        assert (hasher.eigenvalues_ == 1).any()
        return unpack_codes(hasher.transform(as_rows(new)))

    expected = hashed(np.asarray)
    for as_rows in (lambda rows: rows.astype(np.float32), sparse.csr_array):
        assert (hashed(as_rows) != expected).mean() < 0.0005


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_one_far_cluster_have_one_code(dtype):
    """Twice one function, constant on both clusters: its magnitude is the second threshold but for rounding."""
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.randn(20, 2), rng.randn(20, 2) + 100]).astype(dtype)
    bits = unpack_codes(AnchorGraphHash(2, n_layers=2, n_anchors=8, random_state=0).fit(X).transform(X))[:, :2]
    np.testing.assert_array_equal(bits[:20], bits[:1].repeat(20, axis=0))
    np.testing.assert_array_equal(bits[20:], bits[-1:].repeat(20, axis=0))
    assert bits[0, 0] != bits[-1, 0]
    assert bits[:, 1].all()


@pytest.mark.parametrize("n_layers", [1, 2])
def test_ranks_digits_better_than_random_hyperplanes(n_layers):
    def score(hasher):
        database = hasher.fit(DIGITS[:1200]).transform(DIGITS[:1200])
        return mean_average_precision(hasher.transform(DIGITS[1200:]), database, LABELS[1200:], LABELS[:1200])

    graph = score(AnchorGraphHash(16, n_layers=n_layers, n_anchors=100, random_state=0))
    assert graph > score(LSH(16, random_state=0)) + 0.15


def test_copies_of_rows_give_no_copies_of_anchors():
    X = np.repeat(DIGITS[:10], 3, axis=0)
    hasher = AnchorGraphHash(4, random_state=0).fit(X)
    assert hasher.n_anchors_ < 30
    assert pdist(hasher.anchors_).min() > 0.1
    codes = hasher.transform(X)
    np.testing.assert_array_equal(codes[::3], codes[1::3])


@pytest.mark.parametrize(("n_layers", "limit"), [(1, 9), (2, 18)])
def test_more_bits_than_anchors_support_are_refused(n_layers, limit):
    hasher = AnchorGraphHash(19, n_layers=n_layers, n_anchors=10, random_state=0)
    with pytest.raises(ValueError, match=f"AnchorGraphHash: n_bits=19 must be <= {limit}, .*; use fewer") as raised:
        hasher.fit(DIGITS[:100])
    assert "\n" not in str(raised.value)


def test_equal_rows_are_refused():
    with pytest.raises(ValueError, match="n_bits=2 must be <= 0, what 1 different anchors give"):
        AnchorGraphHash(2, random_state=0).fit(np.ones((5, 3)))


@pytest.mark.parametrize(("name", "value"), [("n_layers", 3), ("n_anchors", 1), ("n_nearest", 0)])
def test_wrong_parameters_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter of AnchorGraphHash"):
        AnchorGraphHash(2, **{name: value}).fit(DIGITS)
