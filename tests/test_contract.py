"""The hasher contract of this package, over every hasher found by discovery."""

import copy
import functools
import pickle
import threading

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from threadpoolctl import threadpool_limits

from skhash.codes import code_width, pack_bits, unpack_codes
from tests.estimators import HASHERS, instances

DIGITS, LABELS = load_digits(return_X_y=True)
X, NEW = DIGITS[:400], DIGITS[400:700]

every_hasher = pytest.mark.parametrize("hasher", instances(HASHERS.values()), ids=repr)


@functools.cache
def fit_once(hasher, n_bits, dtype):
    return clone(hasher).set_params(n_bits=n_bits).fit(X.astype(dtype), LABELS[:400])


@pytest.fixture
def fitted(hasher):
    """A fitted hasher of the test's own; most of the time of these tests would go into fits."""
    return copy.deepcopy(fit_once(hasher, hasher.n_bits, np.float64))


def test_discovery_is_not_empty():
    assert len(HASHERS) >= 4


@every_hasher
@pytest.mark.parametrize("n_bits", [1, 7, 8, 12, 32])
def test_codes_are_packed_signs_of_the_projections(hasher, n_bits):
    hasher = clone(hasher).set_params(n_bits=n_bits).fit(X, LABELS[:400])
    projections, codes = hasher.project(NEW), hasher.transform(NEW)
    assert projections.shape == (len(NEW), n_bits)
    assert codes.dtype == np.uint8
    assert codes.shape == (len(NEW), -(-n_bits // 8))
    assert hasher.n_bits_ == n_bits
    np.testing.assert_array_equal(codes, pack_bits(projections >= 0))
    padding = unpack_codes(codes)[:, n_bits:]
    assert not padding.any()


@every_hasher
def test_n_bits_is_the_first_parameter_and_the_only_positional_one(hasher):
    import inspect

    first, *rest = inspect.signature(type(hasher)).parameters.values()
    assert first.name == "n_bits"
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in rest)


@every_hasher
def test_same_seed_same_codes(hasher, fitted):
    np.testing.assert_array_equal(clone(hasher).fit(X, LABELS[:400]).transform(NEW), fitted.transform(NEW))


@every_hasher
def test_codes_do_not_depend_on_the_batch(hasher, fitted):
    whole = fitted.project(NEW)
    for size in (1, 3, 64, 299):
        parts = [fitted.project(NEW[start : start + size]) for start in range(0, len(NEW), size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@every_hasher
def test_codes_do_not_depend_on_the_number_of_threads(hasher, fitted):
    with threadpool_limits(1):
        alone = clone(hasher).fit(X, LABELS[:400])
        np.testing.assert_array_equal(alone.project(NEW), fitted.project(NEW))


@every_hasher
def test_float32_stays_float32_and_codes_agree_with_float64(hasher):
    single, double = (clone(hasher).fit(train, LABELS[:400]) for train in (X.astype(np.float32), X))
    assert single.project(NEW.astype(np.float32)).dtype == np.float32
    assert double.project(NEW).dtype == np.float64
    differing = unpack_codes(single.transform(NEW.astype(np.float32)) ^ double.transform(NEW))
    assert differing.mean() < 0.005


@every_hasher
def test_integers_and_lists_hash_as_their_floats(hasher, fitted):
    expected = fitted.transform(NEW)
    np.testing.assert_array_equal(fitted.transform(NEW.astype(int)), expected)
    np.testing.assert_array_equal(fitted.transform(NEW.tolist()), expected)
    np.testing.assert_array_equal(fitted.transform(np.asfortranarray(NEW)), expected)


@every_hasher
def test_half_precision_hashes_as_the_same_values_in_single_precision(hasher):
    """It was cast to float64, at four times the memory and a tenth of the speed."""
    halves = X.astype(np.float16) / 4
    half, single = (clone(hasher).fit(train, LABELS[:400]) for train in (halves, halves.astype(np.float32)))
    if hasattr(half, "mean_"):
        assert half.mean_.dtype == np.float32
    assert half.project(halves).dtype == np.float32
    np.testing.assert_array_equal(half.project(halves), single.project(halves.astype(np.float32)))
    np.testing.assert_array_equal(half.transform(halves), single.transform(halves.astype(np.float32)))


@every_hasher
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, bool])
def test_integers_and_booleans_fit_as_their_floats(hasher, dtype):
    train, new = X.astype(dtype), NEW.astype(dtype)
    exact, floats = (clone(hasher).fit(rows, LABELS[:400]) for rows in (train, train.astype(np.float64)))
    if hasattr(exact, "mean_"):
        assert exact.mean_.dtype == np.float64
    np.testing.assert_array_equal(exact.project(new), floats.project(new.astype(np.float64)))


@every_hasher
def test_double_precision_is_projected_in_double_precision_after_a_fit_in_single(hasher):
    single = clone(hasher).fit(X.astype(np.float32), LABELS[:400])
    assert single.project(NEW).dtype == np.float64
    np.testing.assert_allclose(single.project(NEW), single.project(NEW.astype(np.float32)), atol=2e-3)


@every_hasher
def test_sparse_rows_hash_as_dense_rows_or_are_refused_by_name(hasher, fitted):
    rows = sparse.csr_matrix(NEW)
    if not fitted.__sklearn_tags__().input_tags.sparse:
        with pytest.raises(TypeError, match=type(hasher).__name__):
            fitted.transform(rows)
        return
    np.testing.assert_allclose(fitted.project(rows), fitted.project(NEW), atol=1e-8)
    refitted = clone(hasher).fit(sparse.csr_matrix(X), LABELS[:400])
    assert unpack_codes(refitted.transform(rows) ^ fitted.transform(NEW)).mean() < 0.001


@every_hasher
def test_pickle_gives_the_same_codes(fitted):
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(NEW), fitted.transform(NEW))


@every_hasher
def test_eight_threads_share_a_fitted_hasher(fitted):
    expected, results = fitted.transform(NEW), [None] * 8

    def work(index):
        results[index] = fitted.transform(NEW)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)


@every_hasher
def test_data_frames_in_and_out(hasher):
    pd = pytest.importorskip("pandas", reason="the test passes frames")
    columns = [f"pixel{i}" for i in range(64)]
    frame = pd.DataFrame(X, columns=columns)
    hasher = clone(hasher).set_params(n_bits=12).set_output(transform="pandas").fit(frame, LABELS[:400])
    codes = hasher.transform(pd.DataFrame(NEW, columns=columns))
    name = type(hasher).__name__.lower()
    assert codes.columns.tolist() == [f"{name}0", f"{name}1"]
    assert set(codes.dtypes) == {np.dtype(np.uint8)}
    assert hasher.feature_names_in_.tolist() == columns


@every_hasher
def test_partial_fit_first_chunk_is_fit(hasher, fitted):
    if not hasattr(hasher, "partial_fit"):
        pytest.skip(f"{type(hasher).__name__} has no partial_fit")
    np.testing.assert_array_equal(clone(hasher).partial_fit(X, LABELS[:400]).transform(NEW), fitted.transform(NEW))


def with_value(value):
    changed = X.copy()
    changed[3, 7] = value
    return changed


@every_hasher
@pytest.mark.parametrize(
    ("train", "message"),
    [
        (with_value(np.nan), r"contains NaN \(first at row 3, column 7\); drop or impute"),
        (with_value(np.inf), r"contains infinity \(inf\) \(first at row 3, column 7\); drop or impute"),
        (X[:0], "0 sample"),
        (X[:1], "minimum of 2 is required by .* Pass at least that many rows"),
        (X[:, :0], "0 feature"),
        (X[0], "Expected 2D array"),
        (X[:, :, None], "dim 3"),
    ],
    ids=["nan", "inf", "empty", "one-sample", "no-features", "one-dimensional", "three-dimensional"],
)
def test_bad_training_rows_are_refused_in_one_line(hasher, train, message):
    with pytest.raises(ValueError, match=message) as raised:
        clone(hasher).fit(train, LABELS[: len(train)])
    assert "\n" not in str(raised.value)
    assert type(hasher).__name__ in str(raised.value)


@every_hasher
@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (NEW[:, :10], "10 features, but .* expecting 64 features as input. Pass the features that it was fitted on"),
        (np.full((2, 64), np.nan), "contains NaN"),
        (np.full((2, 64), -np.inf), "contains infinity"),
        (NEW[:0], "0 sample"),
    ],
    ids=["width", "nan", "inf", "empty"],
)
def test_bad_queries_are_refused_in_one_line(hasher, fitted, queries, message):
    with pytest.raises(ValueError, match=message) as raised:
        fitted.transform(queries)
    assert "\n" not in str(raised.value)
    assert type(hasher).__name__ in str(raised.value)


@every_hasher
@pytest.mark.parametrize("n_bits", [1, 12])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_is_found_among_many_rows(hasher, n_bits, dtype, value):
    """Also in column 0, which is constant, so that methods may give it no weight."""
    hasher = copy.deepcopy(fit_once(hasher, n_bits, dtype))
    rows = np.tile(NEW, (7, 1)).astype(dtype)
    for row, column in [(0, 0), (1500, 0), (2099, 37)]:
        before, rows[row, column] = rows[row, column], value
        for method in (hasher.project, hasher.transform):
            with pytest.raises(ValueError, match=rf"contains .* \(first at row {row}, column {column}\)"):
                method(rows)
        rows[row, column] = before
    assert len(hasher.transform(rows)) == 2100


@every_hasher
def test_one_value_that_is_not_finite_is_found_in_sparse_rows(hasher, fitted):
    if not fitted.__sklearn_tags__().input_tags.sparse:
        pytest.skip(f"{type(hasher).__name__} takes no sparse rows")
    rows = sparse.csr_matrix(np.tile(NEW, (7, 1)))
    rows.data[-1] = np.inf
    with pytest.raises(ValueError, match=f"{type(hasher).__name__}: input X contains infinity"):
        fitted.transform(rows)


@every_hasher
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (NEW + 1j, "Complex data not supported"),
        (sparse.csr_matrix(NEW) * (1 + 1j), "Complex data not supported"),
        (np.zeros((3, 64), dtype="datetime64[s]"), "features must be real numbers, got dtype datetime64"),
        (np.full((3, 64), "1.5"), "features must be real numbers, got dtype <U3"),
    ],
    ids=["complex", "sparse-complex", "dates", "strings"],
)
def test_what_is_no_real_number_is_refused_in_one_line(hasher, fitted, wrong, message):
    with pytest.raises((TypeError, ValueError), match=message) as raised:
        fitted.transform(wrong)
    assert "\n" not in str(raised.value)
    assert type(hasher).__name__ in str(raised.value)


@every_hasher
@pytest.mark.parametrize("n_bits", [0, -1, 2.0, "16", None])
def test_impossible_n_bits_are_refused_in_one_line(hasher, n_bits):
    name = type(hasher).__name__
    with pytest.raises(ValueError, match=rf"'n_bits' parameter of {name} must be an int in the range") as raised:
        clone(hasher).set_params(n_bits=n_bits).fit(X, LABELS[:400])
    assert "\n" not in str(raised.value)


@every_hasher
def test_an_integer_of_numpy_is_a_number_of_bits(hasher):
    """A search over ``np.array([16, 32])`` passes such; 2 to the power of this one overflows."""
    hasher = clone(hasher).set_params(n_bits=np.int32(32)).fit(X, LABELS[:400])
    assert hasher.transform(NEW).shape == (len(NEW), 4)


@every_hasher
def test_true_is_no_number_of_bits(hasher):
    with pytest.raises(ValueError, match=f"{type(hasher).__name__}: n_bits=True must be an integer"):
        clone(hasher).set_params(n_bits=True).fit(X, LABELS[:400])


@every_hasher
def test_features_that_overflow_are_refused_instead_of_hashed_to_zeros(hasher):
    name = type(hasher).__name__
    with pytest.raises(ValueError, match=f"{name}: features .* overflow.*; scale them") as raised:
        clone(hasher).fit(X * 1e307, LABELS[:400]).transform(NEW * 1e307)
    assert "\n" not in str(raised.value)


@every_hasher
def test_failed_fit_leaves_an_unfitted_hasher(hasher):
    hasher = clone(hasher)
    with pytest.raises(ValueError, match="overflow"):
        hasher.fit(X * 1e307, LABELS[:400]).transform(NEW * 1e307)
    if type(hasher).__name__ != "LSH":  # whose fit has no products that could overflow
        with pytest.raises(NotFittedError, match=type(hasher).__name__):
            hasher.transform(NEW)


@every_hasher
def test_memory_order_of_the_training_rows_does_not_matter(hasher, fitted):
    columns_first = clone(hasher).fit(np.asfortranarray(X), LABELS[:400])
    np.testing.assert_array_equal(columns_first.project(np.asfortranarray(NEW)), fitted.project(NEW))


# Directions, waves, balls or circulant matrices that can be drawn in any number, anchors whose number is the limit, and
# networks with any number of outputs.
WITHOUT_LIMIT = {
    "AnchorGraphHash",
    "CCAITQ",
    "CirculantHash",
    "ColumnSampledHash",
    "DeepSupervisedHasher",
    "DeepUnsupervisedHasher",
    "DiscriminantITQ",
    "NestedHash",
    "InductiveManifoldHash",
    "KernelSupervisedHash",
    "LSH",
    "MutualInformationHash",
    "OnlineHadamardHash",
    "ShiftInvariantKernelLSH",
    "SpectralHash",
    "SphericalHash",
    "SupervisedDiscreteHash",
}


@every_hasher
def test_more_bits_than_the_data_support_are_served_or_refused_by_name(hasher):
    name, hasher = type(hasher).__name__, clone(hasher).set_params(n_bits=65)
    if name in WITHOUT_LIMIT:
        assert hasher.fit(X, LABELS[:400]).transform(NEW).shape == (len(NEW), code_width(65))
        return
    with pytest.raises(ValueError, match=f"{name}: n_bits=65 must be <= n_features=64; use") as raised:
        hasher.fit(X, LABELS[:400])
    assert "\n" not in str(raised.value)


@every_hasher
@pytest.mark.parametrize("method", ["project", "transform", "get_feature_names_out"])
def test_unfitted_use_names_the_estimator(hasher, method):
    arguments = () if method == "get_feature_names_out" else (X,)
    with pytest.raises(NotFittedError, match=type(hasher).__name__):
        getattr(clone(hasher), method)(*arguments)
