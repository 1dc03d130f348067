"""Pieces that several hashers share, each against a loop over rows."""

import numpy as np
import pytest
from scipy import linalg, sparse
from sklearn.datasets import make_blobs

from skhash.hashers._anchors import (
    choose_anchors,
    gaussian_kernel,
    kernel_width,
    nearest_anchor_weights,
    squared_distances,
)
from skhash.hashers._class_statistics import ClassStatistics
from skhash.hashers._linear_algebra import (
    discriminant_directions,
    generalized_eigenvectors,
    symmetric_root_of_inverse,
)

X, Y = make_blobs(200, 5, centers=3, random_state=0)
INDICATORS = np.eye(3)[Y]
SEVERAL = (np.random.default_rng(0).random((200, 4)) < 0.4).astype(float)


def naive_class_statistics(rows, indicators):
    weights, sums = np.zeros(indicators.shape[1]), np.zeros((indicators.shape[1], rows.shape[1]))
    for row, classes in zip(rows, indicators, strict=True):
        for number in np.flatnonzero(classes):
            weights[number] += 1 / classes.sum()
            sums[number] += row / classes.sum()
    means = [total / weight if weight else np.zeros(rows.shape[1]) for total, weight in zip(sums, weights, strict=True)]
    return weights, np.array(means)


@pytest.mark.parametrize("indicators", [INDICATORS, np.pad(INDICATORS, ((0, 0), (0, 1)))], ids=["plain", "empty-class"])
@pytest.mark.parametrize("as_rows", [np.asarray, sparse.csr_array])
def test_class_statistics_of_single_labels(indicators, as_rows):
    statistics = ClassStatistics.from_rows(as_rows(X), indicators)
    weights, means = naive_class_statistics(X, indicators)
    np.testing.assert_allclose(statistics.weights, weights)
    np.testing.assert_allclose(statistics.means, means, atol=1e-10)
    within = sum(np.outer(row - means[y], row - means[y]) for row, y in zip(X, Y, strict=True))
    np.testing.assert_allclose(statistics.scatter_within, within, atol=1e-8)
    between = sum(len(X[c == Y]) * np.outer(means[c] - X.mean(0), means[c] - X.mean(0)) for c in range(3))
    np.testing.assert_allclose(statistics.scatter_between, between, atol=1e-8)
    np.testing.assert_allclose(statistics.mean, X.mean(axis=0))


def test_class_statistics_of_several_labels_share_a_row_evenly():
    statistics = ClassStatistics.from_rows(X, SEVERAL)
    weights, means = naive_class_statistics(X, SEVERAL)
    np.testing.assert_allclose(statistics.weights, weights)
    np.testing.assert_allclose(statistics.means, means)
    within = np.zeros((5, 5))
    for row, classes in zip(X, SEVERAL, strict=True):
        for number in np.flatnonzero(classes):
            within += np.outer(row - means[number], row - means[number]) / classes.sum()
    assert statistics.n_samples == pytest.approx(SEVERAL.any(axis=1).sum())
    np.testing.assert_allclose(statistics.scatter_within, within, atol=1e-8)


@pytest.mark.parametrize("indicators", [INDICATORS, SEVERAL], ids=["single", "several"])
def test_class_statistics_merge_to_those_of_all_rows(indicators):
    whole = ClassStatistics.from_rows(X, indicators)
    # The first part has no row of class 2.
    first = np.flatnonzero(indicators[:, 2] == 0)[:50]
    rest = np.setdiff1d(np.arange(200), first)
    merged = ClassStatistics.from_rows(X[first], indicators[first]).merge(
        ClassStatistics.from_rows(X[rest], indicators[rest])
    )
    for name in ("weights", "means", "scatter_within"):
        np.testing.assert_allclose(getattr(merged, name), getattr(whole, name), atol=1e-8)


def test_generalized_eigenvectors_solve_their_equation():
    random = np.random.default_rng(0)
    A, B = (matrix @ matrix.T for matrix in random.normal(size=(2, 6, 6)))
    values, vectors = generalized_eigenvectors(A, B, 4)
    assert (np.diff(values) < 0).all()
    np.testing.assert_allclose(A @ vectors, B @ vectors * values, atol=1e-8)
    np.testing.assert_allclose(vectors.T @ B @ vectors, np.eye(4), atol=1e-8)
    np.testing.assert_allclose(values, sorted(linalg.eigvals(A, B).real)[::-1][:4])


@pytest.mark.parametrize("as_rows", [np.asarray, sparse.csr_array])
def test_anchors_are_different_rows(as_rows):
    anchors = choose_anchors(as_rows(X), 20, 0)
    positions = [np.flatnonzero((anchor == X).all(axis=1)).tolist() for anchor in anchors]
    assert len({position for (position,) in positions}) == 20
    np.testing.assert_array_equal(anchors, choose_anchors(as_rows(X), 20, 0))


def test_anchors_of_clusters_are_near_their_centres():
    anchors = choose_anchors(X, 3, 0, method="kmeans")
    means = np.array([X[c == Y].mean(axis=0) for c in range(3)])
    distances = np.sqrt(((anchors[:, None] - means) ** 2).sum(axis=2))
    assert sorted(distances.argmin(axis=1)) == [0, 1, 2]
    assert distances.min(axis=1).max() < 1


@pytest.mark.parametrize("as_rows", [np.asarray, sparse.csr_array])
def test_kernels_and_weights_are_those_of_a_loop(as_rows):
    anchors, width = X[:7], 3.0
    rows = as_rows(X)
    naive = np.array([[((row - anchor) ** 2).sum() for anchor in anchors] for row in X])
    np.testing.assert_allclose(squared_distances(rows, anchors), naive, atol=1e-9)
    np.testing.assert_allclose(gaussian_kernel(rows, anchors, width), np.exp(-naive / 18), atol=1e-12)
    weights = nearest_anchor_weights(rows, anchors, 3, width)
    for row, distances in zip(weights, naive, strict=True):
        nearest = np.argsort(distances)[:3]
        kernel = np.exp(-distances[nearest] / 18)
        np.testing.assert_allclose(row[nearest], kernel / kernel.sum(), atol=1e-6)
        assert np.count_nonzero(row) <= 3
    assert kernel_width(rows, anchors, 0) == pytest.approx(np.sqrt(naive).mean())


def test_rows_far_from_all_anchors_have_weights():
    weights = nearest_anchor_weights(np.full((1, 5), 1e4), X[:7], 2, 0.1)
    assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_stay_visible(value):
    rows = X[:4].reshape(2, 2, 5).copy()
    rows[1, 0, 3] = value
    with np.errstate(invalid="ignore"):
        for result in (gaussian_kernel(rows, X[:3], 1.0), nearest_anchor_weights(rows, X[:3], 2, 1.0)):
            assert np.isnan(result[1, 0]).any()
            assert np.isfinite(np.delete(result.reshape(4, 3), 2, axis=0)).all()


def test_class_statistics_in_single_precision_and_spread():
    exact, single = (ClassStatistics.from_rows(X, INDICATORS, dtype=dtype) for dtype in (np.float64, np.float32))
    np.testing.assert_allclose(single.scatter_within, exact.scatter_within, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(exact.scatter, (X - X.mean(axis=0)).T @ (X - X.mean(axis=0)))
    spread = exact.spread([4, 0, 2], 5)
    np.testing.assert_array_equal(spread.means[[4, 0, 2]], exact.means)
    np.testing.assert_array_equal(spread.weights[[1, 3]], 0)
    np.testing.assert_allclose(spread.scatter, exact.scatter)


def test_discriminant_directions_solve_their_equation():
    random = np.random.default_rng(0)
    scatter, between = random.normal(size=(6, 9)), random.normal(size=(6, 2))
    scatter = scatter @ scatter.T
    between = np.column_stack([between, between.sum(axis=1)])  # of rank 2
    directions, strengths = discriminant_directions(None, scatter, 0.5, between)
    ridged = scatter + 0.5 * np.trace(scatter) / 6 * np.eye(6)
    assert directions.shape == (6, 2)
    assert strengths[0] > strengths[1]
    np.testing.assert_allclose(between @ between.T @ directions, ridged @ directions * strengths**2, atol=1e-9)
    np.testing.assert_allclose(directions.T @ ridged @ directions, np.eye(2), atol=1e-9)


def test_symmetric_root_of_inverse_of_a_singular_matrix():
    factor = np.random.default_rng(0).normal(size=(5, 3))
    matrix = factor @ factor.T
    root = symmetric_root_of_inverse(matrix)
    np.testing.assert_allclose(root, root.T)
    np.testing.assert_allclose(root @ root, np.linalg.pinv(matrix), atol=1e-9)
