"""ShiftInvariantKernelLSH against the collision probability that its paper derives."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import euclidean_distances

from skhash import ShiftInvariantKernelLSH
from skhash.codes import hamming_distances, unpack_codes

DIGITS = load_digits().data


def expected_share(distance, width):
    """Share of differing bits: 8 / pi^2 sum over m of (1 - K(m distance)) / (4 m^2 - 1), Lemma 2.2 of the paper."""
    m = np.arange(1, 10_000)
    return 8 / np.pi**2 * np.sum((1 - np.exp(-((m * distance / width) ** 2) / 2)) / (4 * m**2 - 1))


def test_share_of_differing_bits_is_that_of_the_paper():
    rows, n_bits, width = DIGITS[:12], 40_000, 30.0
    codes = ShiftInvariantKernelLSH(n_bits, kernel_width=width, random_state=0).fit_transform(rows)
    shares = hamming_distances(codes) / n_bits
    expected = [[expected_share(distance, width) for distance in row] for row in euclidean_distances(rows)]
    # The standard deviation of a share is at most 0.5 / sqrt(40 000) = 0.0025.
    np.testing.assert_allclose(shares, expected, atol=0.0125)
    assert np.ptp(expected) > 0.3


def test_share_levels_off_far_away():
    rows = np.array([[0.0, 0.0], [1000.0, 0.0]])
    codes = ShiftInvariantKernelLSH(40_000, kernel_width=1.0, random_state=0).fit_transform(rows)
    assert hamming_distances(codes)[0, 1] / 40_000 == pytest.approx(4 / np.pi**2, abs=0.0125)


def test_bits_against_the_formula():
    hasher = ShiftInvariantKernelLSH(9, random_state=1).fit(DIGITS)
    bits = unpack_codes(hasher.transform(DIGITS), 9)
    for row, of_row in zip(DIGITS[:50], bits, strict=False):
        for w, phase, threshold, bit in zip(
            hasher.components_, hasher.phases_, hasher.thresholds_, of_row, strict=True
        ):
            assert bit == (np.cos(w @ row + phase) + threshold >= 0)
    assert ((hasher.phases_ >= 0) & (hasher.phases_ <= 2 * np.pi)).all()
    assert (np.abs(hasher.thresholds_) <= 1).all()


def test_width_is_near_the_mean_distance():
    width = ShiftInvariantKernelLSH(4, random_state=0).fit(DIGITS).kernel_width_
    assert width == pytest.approx(euclidean_distances(DIGITS).mean(), rel=0.02)
    assert ShiftInvariantKernelLSH(4, kernel_width=7).fit(DIGITS).kernel_width_ == 7.0


def test_same_seed_gives_the_same_directions_at_any_width():
    narrow, wide = (ShiftInvariantKernelLSH(8, kernel_width=w, random_state=0).fit(DIGITS) for w in (1.0, 2.0))
    np.testing.assert_array_equal(narrow.components_, 2 * wide.components_)


def test_equal_rows_get_the_width_1():
    assert ShiftInvariantKernelLSH(4, random_state=0).fit(np.ones((5, 3))).kernel_width_ == 1.0


@pytest.mark.parametrize("value", [1e200, -1e200])
def test_squares_that_overflow_are_refused(value):
    X = DIGITS[:50].copy()
    X[3, 7] = value
    with pytest.raises(ValueError, match="ShiftInvariantKernelLSH: features are so large that their products overflow"):
        ShiftInvariantKernelLSH(4, random_state=0).fit(X)


def test_sparse_rows_give_the_projections_of_dense_rows():
    from_sparse = ShiftInvariantKernelLSH(16, random_state=0).fit(sparse.csr_matrix(DIGITS))
    from_dense = ShiftInvariantKernelLSH(16, random_state=0).fit(DIGITS)
    np.testing.assert_allclose(from_sparse.project(sparse.csr_matrix(DIGITS)), from_dense.project(DIGITS), atol=1e-9)


@pytest.mark.parametrize("width", [0, -1.0, "median"])
def test_impossible_widths_are_refused(width):
    with pytest.raises(ValueError, match="'kernel_width' parameter of ShiftInvariantKernelLSH"):
        ShiftInvariantKernelLSH(4, kernel_width=width).fit(DIGITS)


@pytest.mark.parametrize(("width", "dtype"), [(5e-324, np.float64), (1e-40, np.float32)])
def test_width_whose_inverse_overflows_is_refused_by_name(width, dtype):
    """NumPy warned of the division, and the error that followed spoke of the features."""
    with pytest.raises(ValueError, match=f"kernel_width={width} is too small for directions of float") as raised:
        ShiftInvariantKernelLSH(4, kernel_width=width).fit(DIGITS.astype(dtype))
    assert "\n" not in str(raised.value)
