"""CCAITQ against canonical correlation analysis written out, and on digits."""

import numpy as np
import pytest
from scipy import linalg, sparse
from sklearn.datasets import load_digits

from skhash import CCAITQ, ITQ
from skhash.hashers._linear_algebra import random_rotation
from skhash.metrics import mean_average_precision

DIGITS, LABELS = load_digits(return_X_y=True)
TRAIN, TEST = slice(0, 1000), slice(1000, None)
SEVERAL = np.column_stack([LABELS % 2, LABELS % 3 == 0, LABELS > 4, np.ones_like(LABELS)]).astype(int)


def correlations_by_definition(X, Y, ridge):
    """Eigenvalues of the equation in the class docstring, as written there."""
    X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    covariance = X.T @ X / len(X)
    ridged = covariance + ridge * np.trace(covariance) / X.shape[1] * np.eye(X.shape[1])
    cross = X.T @ Y / len(X)
    matrix = linalg.solve(ridged, cross @ np.linalg.pinv(Y.T @ Y / len(X), rcond=1e-9) @ cross.T)
    return np.sqrt(np.sort(linalg.eigvals(matrix).real)[::-1].clip(0)), ridged


@pytest.mark.parametrize(("y", "rank"), [(LABELS, 9), (SEVERAL, 3)], ids=["classes", "several-labels"])
@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_directions_solve_the_regularised_equation(y, rank, ridge):
    hasher = CCAITQ(16, ridge=ridge, random_state=0).fit(DIGITS, y)
    indicators = np.eye(10)[LABELS] if y is LABELS else y
    expected, ridged = correlations_by_definition(DIGITS, indicators, ridge)
    assert hasher.components_.shape == (rank, 64)
    np.testing.assert_allclose(hasher.correlations_, expected[:rank], atol=1e-7)
    # Scaled by their correlations, and orthonormal but for that.
    gram = hasher.components_ @ ridged @ hasher.components_.T
    np.testing.assert_allclose(gram, np.diag(hasher.correlations_**2), atol=1e-7)


def test_two_classes_on_a_line_by_hand():
    """Variance 5, covariance with the one indicator 1, of variance 1/4: lambda^2 = 1 / (1/4) / (5 + 5)."""
    X, y = np.array([[-3.0], [-1], [1], [3]]), [0, 0, 1, 1]
    hasher = CCAITQ(3, random_state=0).fit(X, y)
    np.testing.assert_allclose(hasher.correlations_, [np.sqrt(0.4)])
    # Bits are signs of multiples of x, so the two halves have opposite codes.
    bits = np.unpackbits(hasher.transform(X), axis=1)[:, :3]
    np.testing.assert_array_equal(bits, [bits[0], bits[0], 1 - bits[0], 1 - bits[0]])
    np.testing.assert_allclose(hasher.rotation_ @ hasher.rotation_.T, [[1.0]])


@pytest.mark.parametrize("n_bits", [4, 9, 40])
def test_error_never_rises_and_is_that_of_the_codes(n_bits):
    hasher = CCAITQ(n_bits, random_state=0).fit(DIGITS, LABELS)
    errors = hasher.quantization_errors_
    assert (np.diff(errors) <= 1e-9 * errors[0]).all()
    rank = min(n_bits, 9)
    np.testing.assert_allclose(hasher.rotation_ @ hasher.rotation_.T, np.eye(rank), atol=1e-9)
    V = (DIGITS - DIGITS.mean(axis=0)) @ hasher.components_.T
    np.testing.assert_allclose(hasher.project(DIGITS), V @ hasher.rotation_, atol=1e-9)
    signs = np.where(V @ hasher.rotation_ >= 0, 1, -1)
    error = ((signs - V @ hasher.rotation_) ** 2).sum() / len(V)
    assert error <= errors[-1] + 1e-9


def test_more_bits_than_directions_equal_the_plain_loop_with_a_rectangular_rotation():
    hasher = CCAITQ(12, max_iter=4, random_state=5).fit(DIGITS, LABELS)
    V = (DIGITS - DIGITS.mean(axis=0)) @ hasher.components_.T
    rotation, errors = random_rotation(12, np.random.RandomState(5))[:9], []
    for _ in range(4):
        B = np.where(V @ rotation >= 0, 1.0, -1.0)
        errors.append(((B - V @ rotation) ** 2).sum() / len(V))
        u, _, v_transposed = np.linalg.svd(B.T @ V, full_matrices=False)
        rotation = v_transposed.T @ u.T
    np.testing.assert_allclose(hasher.quantization_errors_, errors, rtol=1e-9)
    np.testing.assert_allclose(hasher.rotation_, rotation, atol=1e-7)


def test_retrieves_better_than_itq():
    scores = {}
    for hasher in (CCAITQ(16, random_state=0), ITQ(16, random_state=0)):
        hasher.fit(DIGITS[TRAIN], LABELS[TRAIN])
        codes = hasher.transform(DIGITS)
        scores[type(hasher)] = mean_average_precision(codes[TEST], codes[TRAIN], LABELS[TEST], LABELS[TRAIN])
    assert scores[CCAITQ] > scores[ITQ] + 0.1


def test_unlabelled_rows_are_left_out():
    y = np.where(np.arange(len(LABELS)) < 800, LABELS, -1)
    partly = CCAITQ(16, random_state=0).fit(DIGITS, y)
    alone = CCAITQ(16, random_state=0).fit(DIGITS[:800], LABELS[:800])
    np.testing.assert_array_equal(partly.transform(DIGITS), alone.transform(DIGITS))


def test_sparse_rows_of_several_labels():
    dense, rows = (CCAITQ(8, random_state=0).fit(X, SEVERAL) for X in (DIGITS, sparse.csr_array(DIGITS)))
    np.testing.assert_allclose(rows.project(DIGITS), dense.project(DIGITS), atol=1e-8)


@pytest.mark.parametrize(
    ("X", "y"),
    [(DIGITS, np.zeros(len(DIGITS), dtype=int)), (np.ones((6, 2)), [0, 1, 2, 0, 1, 2])],
    ids=["one-class", "equal-rows"],
)
def test_nothing_to_correlate_is_refused_in_one_line(X, y):
    with pytest.raises(ValueError, match=r"CCAITQ: the .* rows differ in features or in labels alone") as raised:
        CCAITQ(4).fit(X, y)
    assert "\n" not in str(raised.value)


def test_ridge_too_small_for_duplicate_features_is_refused():
    with pytest.raises(ValueError, match=r"CCAITQ: ridge=1e-300 leaves the covariance matrix .* raise it"):
        CCAITQ(4, ridge=1e-300).fit(np.hstack([DIGITS, DIGITS]), LABELS)
    with pytest.raises(ValueError, match="'ridge' parameter of CCAITQ"):
        CCAITQ(4, ridge=0).fit(DIGITS, LABELS)
