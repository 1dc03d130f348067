"""CirculantHash against explicit circulant matrices and a search for the best frequency by hand."""

import numpy as np
import pytest
from scipy import optimize
from scipy.linalg import circulant
from sklearn.datasets import load_digits

from skhash import LSH, CirculantHash
from skhash.codes import hamming_distances, unpack_codes
from skhash.hashers._circulant import _best_magnitudes
from skhash.metrics import mean_average_precision

DIGITS, LABELS = load_digits(return_X_y=True)


def explicit_projections(hasher, X, n_bits):
    centred, parts = X - X.mean(axis=0), []
    for generator, signs in zip(hasher.generators_, hasher.sign_changes_, strict=True):
        parts.append(centred @ np.diag(signs) @ circulant(generator).T)
    return np.hstack(parts)[:, :n_bits]


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("n_features", [1, 2, 7, 64])
@pytest.mark.parametrize("n_bits", [1, 5, 64, 150])
def test_projections_equal_those_of_explicit_matrices(n_features, n_bits, learned):
    X = DIGITS[:100, 64 - n_features :] + np.random.RandomState(0).rand(100, n_features)
    hasher = CirculantHash(n_bits, learned=learned, max_iter=2, random_state=0).fit(X)
    assert len(hasher.generators_) == -(-n_bits // n_features)
    np.testing.assert_allclose(hasher.project(X), explicit_projections(hasher, X, n_bits), atol=1e-8)


def objective(X, generator, n_bits, weight):
    """As documented, with B = sign(X R') where rows of R are used and 0 elsewhere."""
    n_samples, n_features = X.shape
    R = circulant(generator)
    B = np.where(X @ R.T >= 0, 1.0, -1.0)
    B[:, n_bits:] = 0
    return np.sum((B - X @ R.T) ** 2) / n_samples + weight * np.sum((R @ R.T - np.eye(n_features)) ** 2)


@pytest.mark.parametrize("n_features", [6, 7])
@pytest.mark.parametrize("weight", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("n_bits", [3, 6])
def test_objective_equals_that_of_explicit_matrices_and_is_minimal(n_features, n_bits, weight):
    X = DIGITS[:100, 20 : 20 + n_features]
    fits = [
        CirculantHash(n_bits, orthogonality_weight=weight, max_iter=turns, random_state=0).fit(X) for turns in (1, 2)
    ]
    signed = (X - X.mean(axis=0)) * fits[0].sign_changes_
    signed *= np.sqrt(n_features / np.mean(np.sum(signed**2, axis=1)))
    # The objective at the second turn is that of the vector after the first one.
    generator = fits[0].generators_[0]
    assert fits[1].objectives_[1] == pytest.approx(objective(signed, generator, n_bits, weight), rel=1e-9)

    # For the signs of the second turn, no other vector near the one learned has a smaller objective.
    B = np.where(signed @ circulant(generator).T >= 0, 1.0, -1.0)
    B[:, n_bits:] = 0

    def with_fixed_signs(r):
        R = circulant(r)
        return np.sum((B - signed @ R.T) ** 2) / len(X) + weight * np.sum((R @ R.T - np.eye(n_features)) ** 2)

    learned = fits[1].generators_[0]
    best = min(
        optimize.minimize(with_fixed_signs, start, tol=1e-10).fun
        for start in [learned, generator, *np.random.RandomState(0).randn(8, n_features)]
    )
    assert with_fixed_signs(learned) <= best + 1e-6


def test_magnitude_is_the_positive_root_of_the_cubic():
    """z^3 + 3 z = 4 at z = 1; z^3 - z = 6 at z = 2; z^3 - z = 0 at z = 1, beside 0; z^3 + z = 0 only at z = 0."""
    power = np.array([4.0, 0.0, 0.0, 2.0])
    roots = _best_magnitudes(power, np.array([4.0, 6.0, 0.0, 0.0]), 1.0)
    np.testing.assert_allclose(roots, [1.0, 2.0, 1.0, 0.0], atol=1e-9)
    random = np.random.RandomState(0)
    power, cross, weight = 10.0 ** random.uniform(-8, 8, 500), 10.0 ** random.uniform(-8, 8, 500), 3.0
    roots = _best_magnitudes(power, cross, weight)
    expected = [np.roots([weight, 0, p - weight, -c]) for p, c in zip(power, cross, strict=True)]
    expected = [max(r.real for r in of_one if abs(r.imag) < 1e-6 * (1 + abs(r))) for of_one in expected]
    np.testing.assert_allclose(roots, expected, rtol=1e-5, atol=1e-9)


def test_next_to_no_weight_leaves_the_root_of_the_linear_terms():
    """Dividing by it overflowed: 2 z = 6 and 4 z = 1 are left of the cubic."""
    np.testing.assert_allclose(_best_magnitudes(np.array([2.0, 4.0]), np.array([6.0, 1.0]), 5e-324), [3.0, 0.25])
    assert np.isfinite(CirculantHash(8, orthogonality_weight=5e-324, random_state=0).fit(DIGITS).objectives_).all()


@pytest.mark.parametrize("n_bits", [20, 64, 100])
@pytest.mark.parametrize("weight", [0.01, 1.0])
def test_objective_never_rises(n_bits, weight):
    hasher = CirculantHash(n_bits, orthogonality_weight=weight, random_state=0).fit(DIGITS)
    assert len(hasher.objectives_) == hasher.n_iter_ == 10
    assert (np.diff(hasher.objectives_) <= 1e-9 * hasher.objectives_[0]).all()
    assert hasher.objectives_[-1] < hasher.objectives_[0]


def test_random_codes_estimate_angles():
    rows = DIGITS[:30] - DIGITS[:30].mean(axis=0)
    # 80 independent matrices of 64 bits: the standard deviation is at most 0.5 / sqrt(80 * 64) if bits were
    # independent, and not much more.
    codes = CirculantHash(80 * 64, learned=False, random_state=0).fit_transform(rows)
    shares = hamming_distances(codes) / (80 * 64)
    norms = np.linalg.norm(rows, axis=1)
    angles = np.arccos(np.clip(rows @ rows.T / np.outer(norms, norms), -1, 1)) / np.pi
    np.testing.assert_allclose(shares, angles, atol=0.05)
    assert np.abs(shares - angles).mean() < 0.01


def test_learned_codes_beat_random_ones():
    queries, database = DIGITS[:200], DIGITS[200:]

    def score(hasher):
        hasher.fit(database)
        return mean_average_precision(hasher.transform(queries), hasher.transform(database), LABELS[:200], LABELS[200:])

    learned = np.mean([score(CirculantHash(64, random_state=seed)) for seed in range(3)])
    drawn = np.mean([score(CirculantHash(64, learned=False, random_state=seed)) for seed in range(3)])
    hyperplanes = np.mean([score(LSH(64, random_state=seed)) for seed in range(3)])
    assert learned > drawn
    assert learned > hyperplanes
    assert abs(drawn - hyperplanes) < 0.06


def test_scale_of_the_features_changes_no_bit():
    first, second = (CirculantHash(64, random_state=0).fit(scale * DIGITS) for scale in (1, 1024))
    np.testing.assert_allclose(first.generators_, second.generators_, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(first.transform(DIGITS), second.transform(1024 * DIGITS))


def test_learns_from_a_sample():
    hasher = CirculantHash(32, max_samples=100, random_state=0).fit(DIGITS)
    again = CirculantHash(32, max_samples=100, random_state=0).fit(DIGITS)
    other = CirculantHash(32, max_samples=100, random_state=1).fit(DIGITS)
    np.testing.assert_array_equal(hasher.generators_, again.generators_)
    assert (hasher.generators_ != other.generators_).any()
    np.testing.assert_allclose(hasher.mean_, DIGITS.mean(axis=0))


def test_blocks_do_not_change_the_fit(monkeypatch):
    whole = CirculantHash(64, random_state=0).fit(DIGITS)
    monkeypatch.setattr("skhash.hashers._circulant._BLOCK_NUMBERS", 64 * 100)
    parts = CirculantHash(64, random_state=0).fit(DIGITS)
    np.testing.assert_allclose(parts.generators_, whole.generators_, rtol=1e-6, atol=1e-9)


def test_random_variant_has_no_objective():
    assert not hasattr(CirculantHash(8, learned=False).fit(DIGITS), "objectives_")


def test_equal_rows_are_refused_by_the_learned_variant_only():
    X = np.full((7, 3), 0.1)
    with pytest.raises(ValueError, match="CirculantHash: all 7 training rows are equal"):
        CirculantHash(4).fit(X)
    assert unpack_codes(CirculantHash(4, learned=False).fit_transform(X), 4).shape == (7, 4)


def test_squares_that_overflow_are_refused():
    with pytest.raises(ValueError, match="CirculantHash: features are so large that their products overflow"):
        CirculantHash(4).fit(DIGITS * 1e200)


@pytest.mark.parametrize(
    "wrong", [{"orthogonality_weight": 0}, {"max_iter": 0}, {"max_samples": 1}, {"learned": "yes"}], ids=str
)
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(ValueError, match=f"'{next(iter(wrong))}' parameter of CirculantHash"):
        CirculantHash(4, **wrong).fit(DIGITS)
