"""SpectralHash against a transcription of the authors' description."""

import itertools

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits

from skhash import PCAH, SpectralHash
from skhash.codes import unpack_codes

DIGITS = load_digits().data


@pytest.mark.parametrize("n_bits", [1, 8, 40])
def test_bits_against_sorting_all_eigenvalues_by_hand(n_bits):
    n_components = min(n_bits, 64)
    V = PCAH(n_components).fit(DIGITS).project(DIGITS)
    low, high = V.min(axis=0), V.max(axis=0)
    eigenvalues = sorted(
        ((mode * np.pi / (high[i] - low[i])) ** 2, i, mode)
        for i, mode in itertools.product(range(n_components), range(1, n_bits + 1))
    )
    expected = np.empty((len(V), n_bits), dtype=bool)
    for bit, (_, i, mode) in enumerate(eigenvalues[:n_bits]):
        expected[:, bit] = np.sin(np.pi / 2 + mode * np.pi / (high[i] - low[i]) * (V[:, i] - low[i])) >= 0
    codes = SpectralHash(n_bits).fit_transform(DIGITS)
    assert (unpack_codes(codes, n_bits) != expected).mean() < 1e-4


def test_long_direction_gets_two_waves_before_a_short_one_gets_its_first():
    """On a box of 10 x 4 the eigenvalues are (1/10)^2 < (2/10)^2 < (1/4)^2 < (3/10)^2 < (4/10)^2 < (2/4)^2."""
    X = np.array([[x, y] for x in np.linspace(0, 10, 21) for y in np.linspace(0, 4, 9)])
    hasher = SpectralHash(5).fit(X)
    np.testing.assert_allclose(hasher.ranges_, [10, 4])
    assert hasher.directions_.tolist() == [0, 0, 1, 0, 0]
    assert hasher.modes_.tolist() == [1, 2, 1, 3, 4]


def test_first_bit_splits_the_longest_direction_in_the_middle():
    X = np.column_stack([np.linspace(0, 10, 101), np.tile([0.0, 1.0], 51)[:101]])
    bits = unpack_codes(SpectralHash(1).fit_transform(X), 1).ravel()
    assert np.flatnonzero(np.diff(bits.astype(int))).size == 1
    assert 49 <= bits.sum() <= 52


def test_constant_features_are_left_out():
    X = np.hstack([DIGITS, np.ones((len(DIGITS), 3))])
    hasher = SpectralHash(70).fit(X)
    assert len(hasher.components_) == 61
    assert np.isfinite(hasher.project(X)).all()


def test_equal_rows_are_refused():
    with pytest.raises(ValueError, match="SpectralHash: all 5 training rows are equal"):
        SpectralHash(4).fit(np.ones((5, 3)))


def test_sparse_rows_give_the_projections_of_dense_rows():
    from_sparse = SpectralHash(16).fit(sparse.csr_matrix(DIGITS)).project(sparse.csr_matrix(DIGITS))
    np.testing.assert_allclose(from_sparse, SpectralHash(16).fit(DIGITS).project(DIGITS), atol=1e-7)


def test_ranges_beyond_single_precision_are_refused_without_a_warning():
    rows = np.random.default_rng(0).integers(-8, 9, size=(30, 4)).astype(np.float32) * (np.finfo(np.float32).max / 16)
    with pytest.raises(ValueError, match="products overflow"):
        SpectralHash(2).fit(rows)
