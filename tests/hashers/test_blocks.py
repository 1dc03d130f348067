"""Projections must not depend on batches or threads, and thread limits must be given back."""

import threading
import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from threadpoolctl import threadpool_limits

from skhash import ITQ, LSH, PCAH, SpectralHash
from skhash.hashers._blocks import (
    BLOCK_ROWS,
    _blas_controller,
    apply_to_rows,
    block_of,
    float_dtype,
    map_in_order,
    single_threaded_blas,
    stack,
)

# More rows than two threads take at a time.
X = np.random.RandomState(0).randn(2500, 1280).astype(np.float32)
TRAINING = X[:700]
HASHERS = [
    LSH(64, random_state=0),
    PCAH(16, rotation="random", random_state=0),
    ITQ(7, random_state=0),
    SpectralHash(16),
]


def blas_threads():
    """Threads of the BLAS of NumPy and SciPy; other packages, such as faiss, may bring one of their own."""
    return [library["num_threads"] for library in _blas_controller().info()]


@pytest.mark.parametrize("hasher", HASHERS, ids=lambda hasher: type(hasher).__name__)
def test_projections_are_equal_to_the_last_bit_for_any_batch_size(hasher):
    """BLAS rounds a product of one row differently from a product of many."""
    hasher.fit(TRAINING)
    whole, codes = hasher.project(X), hasher.transform(X)
    for batch_size in (1, 17, 256, 300, 1024, 1500):
        starts = range(0, min(len(X), 40 * batch_size), batch_size)
        batches = np.concatenate([hasher.project(X[start : start + batch_size]) for start in starts])
        np.testing.assert_array_equal(batches, whole[: len(batches)])
        batches = np.concatenate([hasher.transform(X[start : start + batch_size]) for start in starts])
        np.testing.assert_array_equal(batches, codes[: len(batches)])


@pytest.mark.parametrize("hasher", HASHERS, ids=lambda hasher: type(hasher).__name__)
def test_fit_and_projections_are_equal_for_any_number_of_threads(hasher):
    with threadpool_limits(1):
        expected = hasher.fit(X[:, :200]).project(X[:, :200])
    for n_threads in (2, 3):
        with threadpool_limits(n_threads):
            np.testing.assert_array_equal(hasher.fit(X[:, :200]).project(X[:, :200]), expected)


def test_results_come_in_order_and_errors_come_out():
    assert list(map_in_order(lambda item: item * 2, range(50))) == list(range(0, 100, 2))
    assert list(map_in_order(lambda item: item, [])) == []
    with pytest.raises(ZeroDivisionError):
        list(map_in_order(lambda item: 1 // item, [1, 2, 0, 3]))


def test_limit_of_one_thread_holds_while_another_caller_comes_and_goes():
    """threadpoolctl ignores the limit of a second thread, and lifts it for all when the first thread leaves."""
    before = blas_threads()
    seen = []

    def work():
        for _ in range(50):
            with single_threaded_blas():
                seen.append(max(blas_threads()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 200
    assert set(seen) == {1}
    assert blas_threads() == before


def test_limit_inside_a_worker_does_not_wait_for_the_consumer():
    """The consumer holds the limit while it waits for the worker: taking it again there never ended."""

    def work(item):
        with single_threaded_blas() as n_threads:
            return n_threads, item

    assert list(map_in_order(work, range(6))) == [(1, item) for item in range(6)]


def test_nested_limits_report_one_thread_and_restore():
    before = blas_threads()
    with single_threaded_blas() as outer, single_threaded_blas() as inner:
        assert (outer, inner) == (max(before), 1)
    assert blas_threads() == before


def test_eight_threads_hash_with_one_fitted_hasher():
    hasher = ITQ(32, random_state=0).fit(TRAINING)
    expected = hasher.transform(X)
    results = [None] * 8

    def work(index):
        results[index] = hasher.transform(X)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("n_rows", [1, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, 3 * BLOCK_ROWS])
def test_stack_keeps_the_rows_in_order_and_fills_up_with_zeros(n_rows):
    block = np.arange(1.0, 2 * n_rows + 1).reshape(n_rows, 2)
    stacked = stack(block)
    assert stacked.shape == (-(-n_rows // BLOCK_ROWS), BLOCK_ROWS, 2)
    rows = stacked.reshape(-1, 2)
    np.testing.assert_array_equal(rows[:n_rows], block)
    assert not rows[n_rows:].any()
    assert np.shares_memory(stacked, block) == (n_rows % BLOCK_ROWS == 0)


@pytest.mark.parametrize("n_rows", [1, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_every_row_gets_what_the_function_gives_for_it(n_rows, container):
    X = np.arange(2 * n_rows).reshape(n_rows, 2)
    result = apply_to_rows(lambda rows: rows @ np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]), container(X), 3, np.int64)
    assert result.dtype == np.int64
    np.testing.assert_array_equal(result, np.column_stack([X[:, 0], X[:, 1], 2 * X[:, 0]]))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64),
        (np.uint8, np.float64), (np.int64, np.float64), (bool, np.float64), (">f4", np.float64),
    ],
)  # fmt: skip
def test_blocks_are_cast_to_floats_that_hold_the_values(dtype, expected):
    X = np.array([[0, 1], [1, 1], [0, 0]]).astype(dtype)
    assert float_dtype(X) == expected
    block = block_of(X, slice(1, 3))
    assert block.dtype == expected
    np.testing.assert_array_equal(block, [[1, 1], [0, 0]])


def test_limit_is_given_back_after_an_error_in_a_later_block():
    before = blas_threads()
    hasher = LSH(8, random_state=0).fit(TRAINING)
    spoilt = X.copy()
    spoilt[2100, 3] = np.nan
    with pytest.raises(ValueError, match=r"contains NaN \(first at row 2100, column 3\)"):
        hasher.transform(spoilt)
    assert blas_threads() == before


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8])
def test_hashing_copies_no_more_than_a_few_blocks(dtype):
    """Features in float16 became a copy in float64, four times their size, before a row was hashed."""
    rows = np.ones((40_000, 256), dtype=dtype)
    hasher = LSH(16, random_state=0).fit(np.eye(256, dtype=dtype))
    with threadpool_limits(1):
        tracemalloc.start()
        codes = hasher.transform(rows)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < codes.nbytes + 5e6
