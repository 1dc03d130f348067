"""Pieces that several hashers share, each against a loop over rows."""

import numpy as np
import pytest
from scipy import linalg, sparse
from sklearn.datasets import make_blobs

from skhash import ITQ, LSH
from skhash.hashers._anchors import (
    AnchorMap,
    at_different_places,
    check_finite_distances,
    choose_anchors,
    gaussian_kernel,
    kernel_width,
    nearest_anchor_weights,
    neighbour_width,
    smoothest_functions,
    squared_distances,
)
from skhash.hashers._class_statistics import ClassStatistics
from skhash.hashers._kernel import AnchorKernel
from skhash.hashers._linear_algebra import (
    RidgeRegression,
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


def test_kernel_width_of_features_whose_squares_overflow_is_not_finite():
    """It was 1, as for equal rows, because NaN is not above 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.isfinite(kernel_width(X * 1e200, X[:7] * 1e200, 0))


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


def test_width_of_nearest_anchors_is_of_the_last_one():
    """Second-nearest anchors at distances 3 and 5, mean 4: exp(-4^2 / (2 sigma^2)) = exp(-1)."""
    width = neighbour_width(np.array([[0.0], [10.0]]), np.array([[1.0], [-3.0], [15.0], [9.0]]), 2, 0)
    assert width == pytest.approx(4 / np.sqrt(2))
    assert neighbour_width(np.ones((3, 2)), np.ones((1, 2)), 1, 0) == 1.0


def test_smoothest_functions_of_a_path_of_three_nodes():
    """Degrees 1, 2, 1: the normalised matrix has the eigenvalues 1, 0, -1; (1, 0, -1) / sqrt(2) belongs to 0."""
    values, functions = smoothest_functions(np.array([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]), np.zeros((3, 1)), 5)
    np.testing.assert_allclose(values, [0, -1], atol=1e-12)
    np.testing.assert_allclose(np.abs(functions[:, 0]), [np.sqrt(0.5), 0, np.sqrt(0.5)], atol=1e-12)
    assert functions[0, 0] * functions[2, 0] < 0


def test_parts_of_a_graph_are_told_apart_along_their_places_first():
    """Three nodes at 0, 1 and 2 without edges between them: by symmetry, f is odd or even around the middle one.

    Minus the sum over pairs of distance times f f' is 2 for (1, 0, -1) / sqrt(2), and 2 / 3 for (1, -2, 1) / sqrt(6).
    """
    values, functions = smoothest_functions(np.eye(3), np.array([[0.0], [1.0], [2.0]]), 5)
    np.testing.assert_array_equal(values, [1, 1])
    np.testing.assert_allclose(functions.T, [[np.sqrt(0.5), 0, -np.sqrt(0.5)], [-(6**-0.5), 2 * 6**-0.5, -(6**-0.5)]])
    assert functions[1, 0] == 0


def graph_of_three_parts(seed):
    rng = np.random.default_rng(seed)
    blocks = []
    for size in (3, 4, 2):
        block = rng.random((size, size))
        blocks.append(block + block.T)
    order = rng.permutation(9)
    return (
        linalg.block_diag(*blocks)[np.ix_(order, order)],
        rng.standard_normal((9, 2)),
        np.repeat([0, 1, 2], [3, 4, 2])[order],
    )


@pytest.mark.parametrize("seed", range(3))
def test_smoothest_functions_of_parts_are_those_that_a_vanishing_further_term_chooses(seed):
    adjacency, places, part_of = graph_of_three_parts(seed)
    values, functions = smoothest_functions(adjacency, places, 9)
    degrees = adjacency.sum(axis=1)
    root = np.sqrt(degrees)
    distances = np.linalg.norm(places[:, None] - places, axis=2)
    centring = np.eye(9) - np.outer(root, root) / degrees.sum()
    matrix = adjacency / np.outer(root, root) - 1e-7 * centring @ (distances * np.outer(root, root)) @ centring
    expected_values, expected = linalg.eigh(matrix - 3 * np.outer(root, root) / degrees.sum())
    np.testing.assert_allclose(values, expected_values[:0:-1], atol=1e-5)
    products = (root[:, None] * functions).T @ expected[:, :0:-1]
    np.testing.assert_allclose(np.abs(products), np.eye(8), atol=1e-4)
    for function in functions.T[2:]:
        assert len(set(part_of[function != 0])) == 1


def test_nodes_without_edges_have_no_part():
    adjacency, places, _ = graph_of_three_parts(0)
    values, functions = smoothest_functions(adjacency, places, 9)
    with_lone_node = linalg.block_diag(0, adjacency)
    same_values, same = smoothest_functions(with_lone_node, np.vstack([[5.0, 5.0], places]), 9)
    np.testing.assert_array_equal(same_values, values)
    np.testing.assert_allclose(same, np.vstack([np.zeros(8), functions]), atol=1e-12)


def test_centres_that_differ_by_rounding_are_one():
    centres = np.array([[3.0, 4.0], [1.0, 2.0], [1.0 + 1e-12, 2.0], [3.0, 4.0], [1.00001, 2.0]])
    np.testing.assert_allclose(at_different_places(centres), [[1, 2], [1.00001, 2], [3, 4]], rtol=1e-10)
    np.testing.assert_array_equal(at_different_places(np.zeros((3, 2))), np.zeros((1, 2)))


@pytest.mark.parametrize("as_rows", [lambda rows: rows.astype(np.float32), sparse.csr_array])
def test_anchor_map_of_the_same_numbers_is_the_same_in_any_form(as_rows):
    """In single precision, k-means went to other centres."""
    rows = np.random.default_rng(0).standard_normal((2000, 40)).astype(np.float32).astype(np.float64)
    expected, found = (AnchorMap.from_rows(ITQ(), X, 30, 3, np.random.RandomState(0)) for X in (rows, as_rows(rows)))
    np.testing.assert_array_equal(found.anchors, expected.anchors)
    assert found.width == pytest.approx(expected.width, rel=1e-12)


def test_anchor_map_sums_what_all_rows_give():
    rows = np.tile(X, (12, 1))
    anchor_map = AnchorMap.from_rows(ITQ(), rows, 20, 3, np.random.RandomState(0))
    masses, gram = anchor_map.sum_over_rows(rows, lambda Z: (Z.sum(axis=0), Z.T @ Z))
    Z = nearest_anchor_weights(rows, anchor_map.anchors, 3, anchor_map.width)
    np.testing.assert_allclose(masses, Z.sum(axis=0))
    np.testing.assert_allclose(gram, Z.T @ Z, atol=1e-9)


@pytest.mark.parametrize("as_rows", [np.asarray, sparse.csr_array])
def test_features_whose_squares_overflow_are_refused(as_rows):
    check_finite_distances(ITQ(), as_rows(X * 1e150))
    with pytest.raises(ValueError, match=r"ITQ: features up to .* overflow in float64; scale them"):
        check_finite_distances(ITQ(), as_rows(X * -1e155))


@pytest.mark.parametrize("as_rows", [np.asarray, sparse.csr_array])
def test_ridge_regression_equals_the_normal_equations_with_an_intercept(as_rows):
    targets = np.random.default_rng(1).standard_normal((200, 2)) + 3
    regression = RidgeRegression(LSH(), as_rows(X), 0.1)
    centred = X - X.mean(axis=0)
    assert regression.ridge == pytest.approx(0.1 * np.sum(centred**2) / 5)
    expected = np.linalg.solve(
        centred.T @ centred + regression.ridge * np.eye(5), centred.T @ (targets - targets.mean(axis=0))
    )
    weights, offsets = regression.fit(targets)
    np.testing.assert_allclose(weights, expected, atol=1e-10)
    predictions = centred @ expected + targets.mean(axis=0)
    np.testing.assert_allclose(regression.predict(weights, offsets), predictions, atol=1e-10)


def test_ridge_regression_of_constant_rows_predicts_the_mean():
    regression = RidgeRegression(LSH(), np.ones((4, 2)), 1e-3)
    weights, offsets = regression.fit(np.array([[0.0], [1], [2], [3]]))
    np.testing.assert_allclose(regression.predict(weights, offsets), np.full((4, 1), 1.5))


def test_anchor_kernel_is_the_gaussian_of_distances_to_training_rows():
    kernel = AnchorKernel.from_rows("LSH", X, 7, np.random.RandomState(0))
    assert len(np.unique(kernel.anchors, axis=0)) == 7
    expected = [[np.exp(-np.sum((x - a) ** 2) / (2 * kernel.width**2)) for a in kernel.anchors] for x in X[:10]]
    np.testing.assert_allclose(kernel(X[:10]), expected)
    np.testing.assert_allclose(kernel(sparse.csr_array(X[:10])), expected)


def test_class_statistics_in_single_precision_and_spread():
    exact, single = (ClassStatistics.from_rows(X, INDICATORS, dtype=dtype) for dtype in (np.float64, np.float32))
    # Within is total less between, so that single precision errs by a share of the total.
    error = np.abs(single.scatter_within - exact.scatter_within).max()
    assert 0 < error < 10 * np.finfo(np.float32).eps * np.trace(exact.scatter)
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
