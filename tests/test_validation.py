"""Checks of finiteness against the plain definition, on values whose squares overflow, too."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from skhash import LSH, AnchorGraphHash, HammingNearestNeighbors, KMeansHash, SpectralHash, SphericalHash
from skhash._validation import all_finite, as_array, check_finite, first_of_other_types, shown

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


def outside(kind):
    """A sparse matrix whose last place is outside, in the format of `kind`."""
    matrix = kind(np.eye(4))
    if matrix.format == "coo":
        matrix.coords = (matrix.coords[0], np.array([0, 1, 2, -9]))
    else:
        matrix.indices[-1] = -9
    return matrix


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_array, sparse.csr_matrix, sparse.coo_array])
def test_sparse_places_outside_the_matrix_are_refused_before_compiled_loops_follow_them(kind):
    """SciPy read and wrote outside its arrays: wrong codes, or a segmentation fault."""
    hasher = LSH(8, random_state=0).fit(np.eye(4))
    for call in (hasher.transform, hasher.fit, hasher.partial_fit):
        with pytest.raises(ValueError, match=r"^LSH: the sparse matrix is not consistent"):
            call(outside(kind))


@pytest.mark.parametrize("format_", ["csr", "csc"])
def test_sparse_pointers_that_fall_are_refused(format_):
    matrix = sparse.eye_array(4, format=format_)
    matrix.indptr[1] = 100
    with pytest.raises(ValueError, match=r"^LSH: the sparse matrix is not consistent"):
        LSH(8).fit(matrix)


def test_unsorted_sparse_rows_of_the_caller_are_not_sorted_in_place():
    rows = np.random.default_rng(0).standard_normal((40, 5))
    matrix = sparse.csr_array(rows)
    # Each row from its last place to its first.
    matrix = sparse.csr_array(
        (rows[:, ::-1].ravel(), np.tile(np.arange(5)[::-1], 40), matrix.indptr), shape=matrix.shape
    )
    indices = matrix.indices.copy()
    hasher = KMeansHash(2, max_iter=5).fit(matrix)
    np.testing.assert_array_equal(matrix.indices, indices)
    np.testing.assert_array_equal(hasher.project(matrix), hasher.project(sparse.csr_array(rows)))


@pytest.mark.parametrize("text", ["1", b"1", "1.5"])
def test_strings_among_objects_are_not_read_as_numbers(text):
    rows = np.ones((3, 2), dtype=object)
    rows[1, 0] = text
    with pytest.raises(TypeError, match=r"^LSH: argument must be real numbers, .* at row 1, column 0"):
        LSH(2).fit(rows)


def test_integers_beyond_doubles_are_refused():
    with pytest.raises(ValueError, match=r"^LSH: features hold integers that are too large"):
        LSH(2).fit(np.array([[10**400, 1], [1, 2]], dtype=object))


def test_masked_values_are_not_taken_for_numbers():
    rows = np.ma.array(np.eye(3), mask=np.eye(3) > 0)
    with pytest.raises(ValueError, match=r"^LSH: features: 3 values are masked"):
        LSH(2).fit(rows)
    np.testing.assert_array_equal(
        LSH(2, random_state=0).fit_transform(np.ma.array(np.eye(3))), LSH(2, random_state=0).fit_transform(np.eye(3))
    )


def test_single_precision_in_the_other_byte_order_stays_single():
    rows = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32)
    hasher = LSH(4, random_state=0).fit(rows)
    swapped = hasher.project(rows.astype(rows.dtype.newbyteorder("S")))
    assert swapped.dtype == np.float32
    np.testing.assert_array_equal(swapped, hasher.project(rows))


def test_long_doubles_beyond_doubles_are_refused_without_a_warning():
    rows = np.ones((3, 2), dtype=np.longdouble)
    rows[1, 1] = np.finfo(np.longdouble).max
    if rows[1, 1] > np.finfo(np.float64).max:
        with pytest.raises(ValueError, match=r"^LSH: input X contains infinity"):
            LSH(2).fit(rows)


def test_names_of_columns_that_occur_twice_are_refused_in_one_line():
    pd = pytest.importorskip("pandas", reason="the test passes frames")
    frame = pd.DataFrame(np.ones((3, 2), dtype=np.uint8), columns=["a", "a"])
    for call in (LSH(2).fit, HammingNearestNeighbors().fit):
        with pytest.raises(ValueError, match=r"unique|uplicate") as raised:
            call(frame)
        assert "\n" not in str(raised.value)


def test_small_integers_of_numpy_as_parameters_do_not_overflow():
    """100 rows a bit were drawn, which 8 bits do not count."""
    rows = np.random.default_rng(0).standard_normal((300, 6))
    plain, small = (SphericalHash(n_bits, random_state=0).fit(rows) for n_bits in (6, np.uint8(6)))
    np.testing.assert_array_equal(small.transform(rows), plain.transform(rows))
    with pytest.raises(ValueError, match=r"^AnchorGraphHash: n_anchors=.*18446744073709551615.* is too large"):
        AnchorGraphHash(2, n_anchors=np.uint64(2**64 - 1)).fit(rows)


def test_more_bits_than_memory_are_refused_before_they_are_allocated():
    with pytest.raises(MemoryError, match=rf"^SpectralHash: .* for n_bits={2**60:,}, but"):
        SpectralHash(2**60).fit(np.eye(3))


class Unprintable:
    def __repr__(self):
        raise RuntimeError


def test_values_are_shown_in_one_short_line():
    assert shown(np.array([[1, 2], [3, 4]])) == "array([[1, 2], [3, 4]])"
    assert len(shown("x" * 1000)) == 80
    assert shown(Unprintable()) == "an object of type Unprintable"


class Foreign:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("needs a gradient")


def test_containers_that_make_no_array_raise_a_type_error():
    with pytest.raises(TypeError, match=r"^codes: no array can be made of it \(RuntimeError: "):
        as_array(Foreign(), name="codes")


def test_the_first_object_of_another_type_is_found():
    """Booleans are integers to Python, and time differences to NumPy."""
    array = np.array([[1, 2.5], [np.float32(3), True], [np.timedelta64(1), "4"]], dtype=object)
    numbers = (int, float, np.integer, np.floating)
    assert first_of_other_types(array, numbers, (bool, np.timedelta64)) == ((1, 1), True)
    assert first_of_other_types(array, numbers, (np.timedelta64,)) == ((2, 0), np.timedelta64(1))
    assert first_of_other_types(array[:2], numbers, ()) is None
    assert first_of_other_types(array, (object,), (str,)) == ((2, 1), "4")
