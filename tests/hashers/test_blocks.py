"""Projections must not depend on batches or threads, and thread limits must be given back."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from skhash import ITQ, LSH, PCAH, SpectralHash
from skhash.hashers._blocks import _blas_controller, map_in_order, single_threaded_blas

X = np.random.RandomState(0).randn(700, 1280).astype(np.float32)
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
    hasher.fit(X)
    whole = hasher.project(X)
    for batch_size in (1, 17, 256, 300):
        batches = [hasher.project(X[start : start + batch_size]) for start in range(0, 600, batch_size)]
        np.testing.assert_array_equal(np.concatenate(batches)[:600], whole[:600])


@pytest.mark.parametrize("hasher", HASHERS, ids=lambda hasher: type(hasher).__name__)
def test_fit_and_projections_are_equal_for_any_number_of_threads(hasher):
    with threadpool_limits(1):
        expected = hasher.fit(X).project(X)
    for n_threads in (2, 3):
        with threadpool_limits(n_threads):
            np.testing.assert_array_equal(hasher.fit(X).project(X), expected)


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
    hasher = ITQ(32, random_state=0).fit(X)
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
