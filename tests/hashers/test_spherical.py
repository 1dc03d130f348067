"""SphericalHash against a transcription of its paper on whole matrices."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import euclidean_distances

from skhash import LSH, SphericalHash
from skhash.codes import unpack_codes
from skhash.metrics import mean_average_precision

DIGITS, LABELS = load_digits(return_X_y=True)


def plain_spherical_hashing(X, pivots, n_turns):
    """Heo et al. 2012, section 3.3: pivots, radii and both errors after some turns, pair by pair."""
    n_samples, n_bits = len(X), len(pivots)
    quarter = n_samples / 4
    for turn in range(n_turns):
        distances = euclidean_distances(pivots, X)
        radii = np.median(distances, axis=1)
        balls = [set(np.flatnonzero(row <= radius)) for row, radius in zip(distances, radii, strict=True)]
        overlaps, forces = [], np.zeros_like(pivots)
        for i in range(n_bits):
            for j in range(n_bits):
                if i != j:
                    overlap = len(balls[i] & balls[j])
                    overlaps.append(overlap)
                    forces[i] += 0.5 * (overlap - quarter) / quarter * (pivots[i] - pivots[j])
        if turn < n_turns - 1:
            pivots = pivots + forces / n_bits
    overlaps = np.array(overlaps)
    return pivots, radii, np.mean(np.abs(overlaps - quarter)) / quarter, np.std(overlaps) / quarter


@pytest.mark.parametrize("n_turns", [1, 2, 6])
def test_equals_the_plain_loop(n_turns):
    n_bits, X = 7, DIGITS[:301]  # of an even number, squares of medians and medians of squares differ
    chosen = np.random.RandomState(3).randint(len(X), size=n_bits * 5)
    start = X[chosen].reshape(n_bits, 5, -1).mean(axis=1)
    exact = {"mean_tolerance": 0, "deviation_tolerance": 0}
    hasher = SphericalHash(n_bits, max_iter=n_turns, random_state=3, **exact).fit(X)
    pivots, radii, error, deviation = plain_spherical_hashing(X, start, n_turns)
    assert hasher.n_iter_ == n_turns
    np.testing.assert_allclose(hasher.pivots_, pivots, atol=1e-8)
    np.testing.assert_allclose(hasher.radii_, radii, rtol=1e-9)
    assert hasher.overlap_errors_[-1] == pytest.approx(error)
    assert hasher.overlap_deviations_[-1] == pytest.approx(deviation)


def test_bits_say_who_is_in_the_ball():
    hasher = SphericalHash(16, random_state=0).fit(DIGITS)
    expected = euclidean_distances(DIGITS, hasher.pivots_) <= hasher.radii_
    assert (unpack_codes(hasher.transform(DIGITS), 16) != expected).mean() < 1e-3


@pytest.mark.parametrize("n_bits", [2, 16, 64])
def test_bits_are_balanced_and_independent_in_pairs(n_bits):
    X = DIGITS[:1796]
    hasher = SphericalHash(n_bits, random_state=0).fit(X)
    assert hasher.n_iter_ < hasher.max_iter
    bits = unpack_codes(hasher.transform(X), n_bits).astype(float)
    np.testing.assert_allclose(bits.mean(axis=0), 0.5, atol=0.01)
    shared = (bits.T @ bits / len(X))[~np.eye(n_bits, dtype=bool)] / 0.25
    assert np.abs(shared - 1).mean() <= 0.11
    assert shared.std() <= 0.16
    assert hasher.overlap_errors_[-1] <= hasher.overlap_errors_[0]


def test_short_codes_beat_random_hyperplanes():
    queries, database = DIGITS[:200], DIGITS[200:]

    def score(hasher):
        hasher.fit(database)
        return mean_average_precision(hasher.transform(queries), hasher.transform(database), LABELS[:200], LABELS[200:])

    ours = np.mean([score(SphericalHash(16, random_state=seed)) for seed in range(3)])
    assert ours > np.mean([score(LSH(16, random_state=seed)) for seed in range(3)])


def test_one_bit_has_no_pairs():
    hasher = SphericalHash(1, random_state=0).fit(DIGITS)
    assert hasher.n_iter_ == 1
    assert hasher.overlap_errors_.tolist() == [0.0]


def test_learns_from_a_sample():
    hasher, again = (SphericalHash(8, max_samples=100, random_state=0).fit(DIGITS) for _ in range(2))
    np.testing.assert_array_equal(hasher.pivots_, again.pivots_)
    whole = SphericalHash(8, random_state=0).fit(DIGITS)
    assert (hasher.pivots_ != whole.pivots_).any()


def test_sparse_rows_give_the_projections_of_dense_rows():
    from_sparse = SphericalHash(8, max_samples=500, random_state=0).fit(sparse.csr_matrix(DIGITS))
    from_dense = SphericalHash(8, max_samples=500, random_state=0).fit(DIGITS)
    np.testing.assert_allclose(from_sparse.project(sparse.csr_matrix(DIGITS)), from_dense.project(DIGITS), atol=1e-7)


def test_duplicates_and_constant_features_do_no_harm():
    X = np.repeat(np.hstack([DIGITS[:50], np.ones((50, 2))]), 4, axis=0)
    hasher = SphericalHash(12, random_state=0).fit(X)
    bits = unpack_codes(hasher.transform(X), 12)
    np.testing.assert_array_equal(bits[::4], bits[3::4])
    assert ((bits.mean(axis=0) > 0.4) & (bits.mean(axis=0) < 0.6)).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_equal_rows_are_refused(value):
    with pytest.raises(ValueError, match="SphericalHash: all 9 training rows are equal"):
        SphericalHash(4).fit(np.full((9, 3), value))


def test_squares_that_overflow_are_refused():
    with pytest.raises(ValueError, match="SphericalHash: features are so large that their products overflow"):
        SphericalHash(4).fit(DIGITS * 1e200)


@pytest.mark.parametrize(
    "wrong", [{"mean_tolerance": -1}, {"deviation_tolerance": -1}, {"max_iter": 0}, {"max_samples": 1}], ids=str
)
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(ValueError, match=f"'{next(iter(wrong))}' parameter of SphericalHash"):
        SphericalHash(4, **wrong).fit(DIGITS)
