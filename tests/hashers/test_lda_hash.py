"""LDAHash against loops over all pairs of rows."""

from itertools import combinations

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits, make_blobs

from skhash import LSH, LDAHash
from skhash.hashers._lda_hash import _best_thresholds, _count_pairs, _positive_scatter
from skhash.metrics import mean_average_precision

DIGITS, LABELS = load_digits(return_X_y=True)
X, Y = make_blobs(30, 4, centers=3, random_state=0)
SINGLE = np.eye(3)[np.where(np.arange(30) < 8, 0, Y)]
SEVERAL = (np.random.default_rng(0).random((30, 4)) < 0.5).astype(float)
SEVERAL[:, 0] = 1
SHARES = [SINGLE, SEVERAL / SEVERAL.sum(axis=1, keepdims=True)]

both = pytest.mark.parametrize("shares", SHARES, ids=["single", "several"])


def pairs(shares):
    """Yield each pair of rows and the probability that a label drawn from each is the same."""
    for i, j in combinations(range(len(shares)), 2):
        yield i, j, shares[i] @ shares[j]


@both
def test_covariances_of_pairs(shares):
    expected = sum(p * np.outer(X[i] - X[j], X[i] - X[j]) for i, j, p in pairs(shares))
    np.testing.assert_allclose(_positive_scatter(X, sparse.csr_array(shares), X.mean(axis=0)), expected)
    n_positive = sum(p for _, _, p in pairs(shares))
    np.testing.assert_allclose(_count_pairs(sparse.csr_array(shares)), [n_positive, 30 * 29 / 2 - n_positive])


@both
def test_thresholds_are_the_best_of_all(shares):
    projections = np.round(X[:, :2], 0)  # with ties
    thresholds, errors = _best_thresholds(projections, sparse.csr_array(shares))
    n_positive, n_negative = _count_pairs(sparse.csr_array(shares))
    for column, threshold, error in zip(projections.T, thresholds, errors, strict=True):
        values = np.unique(column)
        naive = []
        for t in [threshold, *(values[1:] + values[:-1]) / 2]:
            bits = column >= t
            false_negatives = sum(p for i, j, p in pairs(shares) if bits[i] != bits[j])
            false_positives = sum(1 - p for i, j, p in pairs(shares) if bits[i] == bits[j])
            naive.append(false_negatives / n_positive + false_positives / n_negative)
        assert error == pytest.approx(naive[0])
        assert naive[0] == pytest.approx(min(naive[1:]))


def test_directions_solve_the_equation_of_all_pairs():
    y = SINGLE.argmax(axis=1)
    hasher = LDAHash(3, shrinkage=0.5).fit(X, y)
    same = np.array([(X[i] - X[j]) for i, j, p in pairs(SINGLE) if p])
    other = np.array([(X[i] - X[j]) for i, j, p in pairs(SINGLE) if not p])
    positive, negative = same.T @ same / len(same), other.T @ other / len(other)
    shrunk = positive + 0.5 * np.trace(positive) / 4 * np.eye(4)
    weights = hasher.components_.T
    np.testing.assert_allclose(negative @ weights, shrunk @ weights * hasher.eigenvalues_, atol=1e-8)
    assert (np.diff(hasher.eigenvalues_) < 0).all()


def test_two_classes_on_a_line_by_hand():
    """Between 1 and 5 no positive pair is separated and every negative one is."""
    hasher = LDAHash(1).fit([[0.0], [1.0], [5.0], [7.0]], [0, 0, 1, 1])
    assert hasher.errors_.tolist() == [0]
    assert hasher.thresholds_[0] / hasher.components_[0, 0] + hasher.mean_[0] == pytest.approx(3)
    assert np.unpackbits(hasher.transform([[2.9], [3.1]]), axis=1)[:, 0].tolist() == [0, 1]


def test_retrieves_better_than_random_directions():
    scores = {}
    for hasher in (LDAHash(8), LSH(8, random_state=0)):
        codes = hasher.fit(DIGITS[:1000], LABELS[:1000]).transform(DIGITS)
        scores[type(hasher)] = mean_average_precision(codes[1000:], codes[:1000], LABELS[1000:], LABELS[:1000])
    assert scores[LDAHash] > scores[LSH] + 0.2


@pytest.mark.parametrize(
    ("rows", "y", "n_bits", "message"),
    [
        (X[:3], [0, 1, 2], 2, "LDAHash: no two of the 3 labelled rows are of the same class"),
        (X, np.zeros(30, dtype=int), 2, "LDAHash: no two of the 30 labelled rows are of different classes"),
        (np.repeat(X[:2], 3, axis=0), [0, 0, 0, 1, 1, 1], 2, "LDAHash: all rows of a class are equal"),
        (np.hstack([X, X]), Y, 6, "LDAHash: n_bits=6 must be <= 4, the rank of the training data"),
    ],
    ids=["no-pairs", "one-class", "equal-rows", "rank"],
)
def test_what_gives_no_bits_is_refused_in_one_line(rows, y, n_bits, message):
    with pytest.raises(ValueError, match=message) as raised:
        LDAHash(n_bits).fit(rows, y)
    assert "\n" not in str(raised.value)


def test_features_whose_whitening_overflows_are_refused_in_one_line():
    """NumPy warned of three overflows, and the error that followed asked for smaller features."""
    tiny = (X * 1e-44).astype(np.float32)
    with pytest.raises(
        ValueError, match=r"LDAHash: the features are so small that weights .* overflow float32"
    ) as raised:
        LDAHash(2).fit(tiny, Y)
    assert "\n" not in str(raised.value)
    double = LDAHash(2).fit(tiny.astype(np.float64), Y)
    assert np.isfinite(double.project(tiny.astype(np.float64))).all()
