"""SupervisedDiscreteHash against loops over rows and bits written from the papers' formulas."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits, make_multilabel_classification

from skhash import ITQ, SupervisedDiscreteHash
from skhash.codes import unpack_codes
from skhash.hashers._sdh import _closed_form_step, _discrete_step
from skhash.metrics import mean_average_precision

DIGITS, LABELS = load_digits(return_X_y=True)
TRAIN, QUERIES, DATABASE = slice(0, 600), slice(600, 800), slice(800, 1797)


def small_problem(seed=0):
    rng = np.random.default_rng(seed)
    Y = np.eye(3)[rng.integers(3, size=12)]
    return Y, rng.choice([-1.0, 1.0], size=(12, 4)), rng.standard_normal((12, 4))


def discrete_objective(Y, B, W, F, regularization, fit_weight):
    return np.sum((Y - B @ W) ** 2) + regularization * np.sum(W**2) + fit_weight * np.sum((B - F) ** 2)


def naive_discrete_step(Y, B, F, regularization, fit_weight):
    """Shen et al. 2015, section 3, each bit by trying both signs."""
    B = B.copy()
    W = np.linalg.inv(B.T @ B + regularization * np.eye(4)) @ B.T @ Y
    for _ in range(10):
        for bit in range(4):
            for row in range(12):
                errors = []
                for sign in (-1.0, 1.0):
                    B[row, bit] = sign
                    errors.append(discrete_objective(Y, B, W, F, regularization, fit_weight))
                B[row, bit] = 1.0 if errors[1] < errors[0] else -1.0
    return B, W


@pytest.mark.parametrize("seed", range(5))
def test_discrete_step_equals_trying_both_signs_of_every_entry(seed):
    Y, B, F = small_problem(seed)
    expected, W = naive_discrete_step(Y, B, F, 0.5, 0.1)
    codes, classification = _discrete_step(Y, B, F, 0.5, 0.1)
    np.testing.assert_array_equal(codes, expected)
    misfit = 0.1 * np.sum((expected - F) ** 2)
    assert classification + misfit == pytest.approx(discrete_objective(Y, expected, W, F, 0.5, 0.1))


def test_closed_form_step_by_hand():
    """Two rows of class 0 with bits (1, 1) and (1, -1), one of class 1 with (-1, -1); lambda = 1, nu = 0.5.

    W = (Y'Y + I)^-1 Y'B has rows (2/3, 0) and (-1/2, -1/2), and Y W + nu F decides.
    """
    Y = np.array([[1.0, 0], [1, 0], [0, 1]])
    B = np.array([[1.0, 1], [1, -1], [-1, -1]])
    F = np.array([[-1.0, 0.2], [-2, -0.2], [0.5, 2]])
    codes, classification = _closed_form_step(Y, B, F, 1.0, 0.5)
    np.testing.assert_array_equal(codes, [[1, 1], [-1, -1], [-1, 1]])
    squares = (1 / 9 + 1) + (25 / 9 + 1) + (1 / 4 + 9 / 4)
    assert classification == pytest.approx(squares + 4 / 9 + 1 / 2)


@pytest.mark.parametrize("solver", ["discrete", "closed_form"])
@pytest.mark.parametrize("fit_weight", [1e-5, 0.1, 2.0])
def test_objective_never_rises(solver, fit_weight):
    hasher = SupervisedDiscreteHash(12, solver=solver, fit_weight=fit_weight, max_iter=8, random_state=0)
    objectives = hasher.fit(DIGITS[TRAIN], LABELS[TRAIN]).objectives_
    assert len(objectives) == hasher.n_iter_ <= 8
    assert (np.diff(objectives) <= 1e-9 * objectives[0]).all()


@pytest.mark.parametrize("solver", ["discrete", "closed_form"])
def test_rows_of_a_class_come_nearer_than_without_labels(solver):
    scores = []
    for hasher in (SupervisedDiscreteHash(16, solver=solver, random_state=0), ITQ(16, random_state=0)):
        hasher.fit(DIGITS[TRAIN], LABELS[TRAIN])
        queries, database = hasher.transform(DIGITS[QUERIES]), hasher.transform(DIGITS[DATABASE])
        scores.append(mean_average_precision(queries, database, LABELS[QUERIES], LABELS[DATABASE]))
    assert scores[0] > scores[1] + 0.15


def test_several_labels_a_row():
    X, Y = make_multilabel_classification(400, 10, n_classes=4, allow_unlabeled=False, random_state=0)
    hasher = SupervisedDiscreteHash(8, random_state=0).fit(X[:300], Y[:300])
    distances = (unpack_codes(hasher.transform(X[300:]), 8)[:, None] != unpack_codes(hasher.transform(X), 8)).sum(2)
    share = Y[300:] @ Y.T > 0
    assert distances[share].mean() < distances[~share].mean() - 0.5


def test_rows_without_a_label_are_anchors_only():
    y = LABELS[TRAIN].copy()
    y[300:] = -1
    few = SupervisedDiscreteHash(8, n_anchors=500, random_state=0).fit(DIGITS[TRAIN], y)
    assert few.anchors_.shape == (500, 64)
    assert few.classes_.tolist() == list(range(10))
    unseen = DIGITS[QUERIES]
    queries, database = few.transform(unseen), few.transform(DIGITS[DATABASE])
    assert mean_average_precision(queries, database, LABELS[QUERIES], LABELS[DATABASE]) > 0.5


def test_max_samples_bounds_the_rows_learned_from():
    hasher = SupervisedDiscreteHash(8, max_samples=100, random_state=0).fit(DIGITS, LABELS)
    # The error of a row is at most 1 with W = 0, and the objective is a sum over the rows drawn.
    assert hasher.objectives_[-1] < 100 + 1
    assert hasher.n_anchors_ == 1000
    everything = SupervisedDiscreteHash(8, max_samples=1797, random_state=0).fit(DIGITS, LABELS)
    assert everything.objectives_[-1] > 101


def test_default_number_of_anchors_is_capped_by_the_data_and_an_explicit_one_refused():
    assert SupervisedDiscreteHash(4, random_state=0).fit(DIGITS[:50], LABELS[:50]).n_anchors_ == 50
    with pytest.raises(ValueError, match="SupervisedDiscreteHash: n_anchors=51 must be <= n_samples=50; use fewer"):
        SupervisedDiscreteHash(4, n_anchors=51).fit(DIGITS[:50], LABELS[:50])


def test_rows_far_from_the_origin_hash_as_near_it_in_single_precision():
    near = SupervisedDiscreteHash(16, random_state=0).fit(DIGITS[TRAIN], LABELS[TRAIN])
    far = SupervisedDiscreteHash(16, random_state=0).fit((DIGITS[TRAIN] + 5000).astype(np.float32), LABELS[TRAIN])
    codes = far.transform((DIGITS + 5000).astype(np.float32))
    assert unpack_codes(codes ^ near.transform(DIGITS)).mean() < 0.01


def test_constant_features_and_duplicates_are_harmless():
    X = np.hstack([DIGITS[:100], np.full((100, 3), 7.0)])
    hasher = SupervisedDiscreteHash(8, random_state=0).fit(np.tile(X, (3, 1)), np.tile(LABELS[:100], 3))
    assert np.isfinite(hasher.project(X)).all()


def test_equal_rows_and_one_class_are_refused():
    with pytest.raises(ValueError, match="SupervisedDiscreteHash: all 6 labelled rows are equal; pass rows that"):
        SupervisedDiscreteHash(4).fit(np.ones((6, 3)), [0, 1] * 3)
    with pytest.raises(ValueError, match="all 50 labelled rows have the same labels; pass at least two classes"):
        SupervisedDiscreteHash(4).fit(DIGITS[:50], np.ones(50, dtype=int))


@pytest.mark.parametrize(
    "parameters",
    [
        {"solver": "bitwise"},
        {"regularization": 0.0},
        {"fit_weight": -1.0},
        {"ridge": 0.0},
        {"max_iter": 0},
        {"max_samples": 1},
        {"n_anchors": 0},
    ],
)
def test_wrong_parameters_are_refused_by_name(parameters):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"'{name}' parameter of SupervisedDiscreteHash"):
        SupervisedDiscreteHash(4, **parameters).fit(DIGITS[:50], LABELS[:50])


def test_sparse_rows_hash_as_dense_rows():
    hasher = SupervisedDiscreteHash(8, random_state=0).fit(sparse.csr_matrix(DIGITS[TRAIN]), LABELS[TRAIN])
    dense = SupervisedDiscreteHash(8, random_state=0).fit(DIGITS[TRAIN], LABELS[TRAIN])
    np.testing.assert_allclose(hasher.project(sparse.csr_matrix(DIGITS)), dense.project(DIGITS), atol=1e-6)
