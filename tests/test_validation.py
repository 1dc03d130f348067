"""Checks of finiteness against the plain definition, on values whose squares overflow, too."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from skhash import LSH
from skhash._validation import all_finite, check_finite

arrays = st.sampled_from([np.float16, np.float32, np.float64]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=3, max_side=5))
)


@given(arrays)
def test_finite_is_what_numpy_finds_finite_value_by_value(values):
    assert all_finite(values) == all(np.isfinite(value) for value in values.flat)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_largest_finite_values_are_finite(dtype):
    """The sum of their squares is infinite."""
    largest = np.finfo(dtype).max
    assert all_finite(np.array([largest, -largest, largest]))
    check_finite(LSH(), np.full((2000, 3), largest))


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
@pytest.mark.parametrize("order", ["C", "F"])
def test_first_place_is_named(value, kind, order):
    X = np.zeros((3000, 4), order=order)
    X[2500, 1] = X[2500, 3] = X[2700, 0] = value
    with pytest.raises(ValueError, match=rf"^LSH: input X contains {kind}.* \(first at row 2500, column 1\); drop"):
        check_finite(LSH(), X)


def test_sparse_values_are_checked_without_a_place():
    rows = sparse.csr_matrix(np.eye(3000))
    check_finite(LSH(), rows)
    rows.data[2999] = np.nan
    with pytest.raises(ValueError, match=r"^LSH: input X contains NaN; drop"):
        check_finite(LSH(), rows)


@pytest.mark.parametrize("X", [np.eye(3, dtype=int), np.eye(3, dtype=bool), sparse.csr_matrix((3, 3))])
def test_what_cannot_be_infinite_passes(X):
    check_finite(LSH(), X)


def test_codes_do_not_depend_on_the_scale_even_where_squares_overflow():
    """A power of two scales every product exactly, so the signs stay."""
    X = np.random.RandomState(0).randn(50, 8).astype(np.float32)
    scale = np.float32(2.0**100)
    np.testing.assert_array_equal(
        LSH(24, random_state=0).fit_transform(X * scale), LSH(24, random_state=0).fit_transform(X)
    )
