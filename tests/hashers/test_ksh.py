"""KernelSupervisedHash against the matrix of pairs, written out."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_multilabel_classification

from skhash import ITQ, KernelSupervisedHash
from skhash._labels import encode_labels
from skhash.codes import unpack_codes
from skhash.hashers._ksh import _climb, _Residue, _SharedLabels, _signs, _whiten
from skhash.metrics import mean_average_precision

DIGITS, LABELS = load_digits(return_X_y=True)
TRAIN, QUERIES, DATABASE = slice(0, 600), slice(600, 800), slice(800, 1797)
SEVERAL = (np.random.default_rng(0).random((40, 5)) < 0.4).astype(np.float32)


def naive_pairs(indicators):
    n = len(indicators)
    return np.array([[1.0 if (indicators[i] * indicators[j]).any() else -1.0 for j in range(n)] for i in range(n)])


@pytest.mark.parametrize("y", [LABELS[:40] % 4, SEVERAL], ids=["one", "several"])
def test_pairs_are_those_of_a_double_loop(y):
    rng = np.random.default_rng(1)
    targets = encode_labels("Name", y)
    S, similarity = naive_pairs(targets.indicators_of(slice(None))), _SharedLabels(targets)
    vector, matrix = rng.standard_normal(40), rng.standard_normal((40, 3))
    np.testing.assert_allclose(similarity.times(vector), S @ vector, atol=1e-10)
    np.testing.assert_allclose(similarity.between(matrix), matrix.T @ S @ matrix, atol=1e-10)


def test_residue_is_what_the_bits_leave():
    rng = np.random.default_rng(2)
    U, S = rng.standard_normal((40, 6)), naive_pairs(SEVERAL)
    residue, R = _Residue(_SharedLabels(encode_labels("Name", SEVERAL)), 3, U), 3 * S
    for _ in range(3):
        direction = residue.leading_direction()
        values, vectors = np.linalg.eigh(U.T @ R @ U)
        assert abs(direction @ vectors[:, -1]) == pytest.approx(1.0)
        assert direction @ U.T @ R @ U @ direction == pytest.approx(values[-1])
        bit = _signs(U @ rng.standard_normal(6))
        assert residue.agreement(bit) == pytest.approx(bit @ R @ bit)
        R = R - np.outer(bit, bit)
        assert residue.subtract(bit) == pytest.approx(np.sum(R**2))


def test_whitened_features_have_unit_variance():
    X = DIGITS[:200] - DIGITS[:200].mean(axis=0)
    whitened, directions = _whiten(X, 0.0)
    np.testing.assert_allclose(whitened.T @ whitened / 200, np.eye(whitened.shape[1]), atol=1e-8)
    np.testing.assert_allclose(X @ directions, whitened)
    assert whitened.shape[1] == np.linalg.matrix_rank(X)


def test_ascent_reaches_a_point_without_slope():
    rng = np.random.default_rng(3)
    U, S = rng.standard_normal((40, 3)), naive_pairs(SEVERAL)
    residue = _Residue(_SharedLabels(encode_labels("Name", SEVERAL)), 1, U)

    def smoothed(v):
        soft = 2 / (1 + np.exp(-U @ v)) - 1
        return soft @ S @ soft / 40**2

    start = residue.leading_direction()
    end, n_steps = _climb(residue, start, 500)
    assert 1 <= n_steps <= 500
    assert smoothed(end) > smoothed(start)
    assert all(smoothed(end + step) < smoothed(end) + 1e-4 for step in 0.05 * rng.standard_normal((200, 3)))


def test_first_bit_separates_two_classes_by_hand():
    """Of two far clusters, the first bit splits them: h h' = S, so that the error of K = 1 bit is 0."""
    X = np.concatenate([np.random.default_rng(0).normal(centre, 0.1, (10, 2)) for centre in (0, 5)])
    hasher = KernelSupervisedHash(1, random_state=0).fit(X, np.repeat([0, 1], 10))
    bits = unpack_codes(hasher.transform(X), 1).ravel()
    assert (bits[:10] == bits[0]).all()
    assert (bits[10:] != bits[0]).all()
    np.testing.assert_allclose(hasher.objectives_, [0.0], atol=1e-12)


def test_objectives_are_those_of_the_training_codes_and_fall():
    hasher = KernelSupervisedHash(10, random_state=0).fit(DIGITS[TRAIN], LABELS[TRAIN])
    S = np.where(LABELS[TRAIN, None] == LABELS[None, TRAIN], 1.0, -1.0)
    H = _signs(hasher.project(DIGITS[TRAIN]))
    expected = [np.mean((H[:, :k] @ H[:, :k].T / 10 - S) ** 2) for k in range(1, 11)]
    np.testing.assert_allclose(hasher.objectives_, expected, rtol=1e-2)
    assert (np.diff(hasher.objectives_) < 0).all()


def test_rows_of_a_class_come_nearer_than_without_labels():
    scores = []
    for hasher in (KernelSupervisedHash(16, max_iter=30, random_state=0), ITQ(16, random_state=0)):
        hasher.fit(DIGITS[TRAIN], LABELS[TRAIN])
        queries, database = hasher.transform(DIGITS[QUERIES]), hasher.transform(DIGITS[DATABASE])
        scores.append(mean_average_precision(queries, database, LABELS[QUERIES], LABELS[DATABASE]))
    assert scores[0] > scores[1] + 0.15


def test_several_labels_a_row():
    X, Y = make_multilabel_classification(400, 10, n_classes=4, allow_unlabeled=False, random_state=0)
    hasher = KernelSupervisedHash(8, max_iter=30, random_state=0).fit(X[:300], Y[:300])
    distances = (unpack_codes(hasher.transform(X[300:]), 8)[:, None] != unpack_codes(hasher.transform(X), 8)).sum(2)
    share = Y[300:] @ Y.T > 0
    assert distances[share].mean() < distances[~share].mean() - 0.5


def test_a_label_that_all_rows_have_is_refused():
    Y = np.column_stack([np.ones(50, dtype=int), LABELS[:50] % 2])
    with pytest.raises(ValueError, match="KernelSupervisedHash: all 50 labelled rows share a label with all others"):
        KernelSupervisedHash(4).fit(DIGITS[:50], Y)


def test_equal_rows_and_one_class_are_refused():
    with pytest.raises(ValueError, match="KernelSupervisedHash: all 6 labelled rows are equal; pass rows that"):
        KernelSupervisedHash(4).fit(np.full((6, 3), 0.1), [0, 1] * 3)
    with pytest.raises(ValueError, match="all 50 labelled rows have the same labels; pass at least two classes"):
        KernelSupervisedHash(4).fit(DIGITS[:50], np.ones(50, dtype=int))


@pytest.mark.parametrize("parameters", [{"ridge": -1.0}, {"max_iter": 0}, {"max_samples": 1}, {"n_anchors": 0}])
def test_wrong_parameters_are_refused_by_name(parameters):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"'{name}' parameter of KernelSupervisedHash"):
        KernelSupervisedHash(4, **parameters).fit(DIGITS[:50], LABELS[:50])
