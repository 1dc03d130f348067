"""Rows in blocks: bounded memory, and results that do not depend on threads or on the batch a row arrives in.

A matrix product rounds differently when BLAS picks another kernel, and it picks by the shape of the operands and the
number of threads. A code bit flips where that rounding crosses zero. So every product here has the same number of
rows, runs on one BLAS thread, and blocks, not products, are spread over threads.
"""

import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

import numpy as np
from scipy import sparse
from sklearn.utils import gen_batches
from threadpoolctl import ThreadpoolController

# Rows of one matrix product. 256 rows are as fast as 4096 on 512 features (the block stays in cache).
BLOCK_ROWS = 256


@functools.cache
def _blas_controller():
    return ThreadpoolController().select(user_api="blas")


_blas_lock = threading.RLock()
_worker = threading.local()


def _mark_worker():
    _worker.is_worker = True


def _forget_lock():
    """A child of a fork would wait for ever for a lock that some other thread held at that moment."""
    global _blas_lock
    _blas_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)


@contextmanager
def single_threaded_blas():
    """Hold BLAS to one thread, and say how many threads it had before.

    One caller at a time: threadpoolctl lets only one thread set the limit of a process-wide BLAS, so a second caller
    would find its limit ignored or lifted while it is still inside. The one inside has all threads to itself.

    Yields
    ------
    n_threads : int
        Number of threads that BLAS may use outside.
    """
    if getattr(_worker, "is_worker", False):
        # The thread that waits for this worker's result holds the limit already.
        yield 1
        return
    with _blas_lock:
        libraries = _blas_controller().info()
        n_threads = max((library["num_threads"] for library in libraries), default=1)
        with _blas_controller().limit(limits=1):
            yield n_threads


def map_in_order(function: Callable, items: Iterable, *, n_pending: int | None = None) -> Iterator:
    """Apply a function to items on as many threads as BLAS may use, yielding results in order.

    Few results exist at a time, so that a consumer that adds them up needs little memory. BLAS stays limited until the
    iterator is exhausted or closed.

    Parameters
    ----------
    function : callable
        Takes one item; runs with BLAS held to one thread.

    items : iterable
        What to apply it to.

    n_pending : int, default=None
        How many results may exist or be in the making at a time; two a thread by default and at most.

    Yields
    ------
    result : object
        ``function(item)``, in the order of the items.
    """
    with single_threaded_blas() as n_threads:
        n_pending = min(2 * n_threads, n_pending or 2 * n_threads)
        items = iter(items)
        head = list(islice(items, 2))
        if n_threads == 1 or n_pending == 1 or len(head) < 2:
            yield from map(function, head)
            yield from map(function, items)
            return
        with ThreadPoolExecutor(min(n_threads, n_pending), initializer=_mark_worker) as pool:
            pending = [pool.submit(function, item) for item in head]
            pending += [pool.submit(function, item) for item in islice(items, n_pending - 2)]
            while pending:
                yield pending.pop(0).result()
                pending += [pool.submit(function, item) for item in islice(items, 1)]


def block_of(X, rows):
    """Take rows in one memory order whatever that of X, because BLAS rounds differently for another one.

    Parameters
    ----------
    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
        Matrix.

    rows : slice
        Which rows.

    Returns
    -------
    block : {ndarray, CSR matrix} of shape (n_rows, n_features)
        C-contiguous if dense; a view where X is.
    """
    return X[rows] if sparse.issparse(X) else np.ascontiguousarray(X[rows])


def apply_to_rows(function: Callable, X, n_outputs: int) -> np.ndarray:
    """Apply a function of rows to blocks of exactly `BLOCK_ROWS` rows each.

    The last block is padded with zeros, so that a row gives the same bits of the result whichever rows come with it.

    Parameters
    ----------
    function : callable
        Maps an array of shape (n_rows, n_features) to one of shape (n_rows, n_outputs).

    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
        Rows. Sparse rows are passed in blocks without padding, as sparse products handle each row by itself.

    n_outputs : int
        Width of the result.

    Returns
    -------
    result : ndarray of shape (n_samples, n_outputs)
        Of the dtype of `X`.
    """
    result = np.empty((X.shape[0], n_outputs), dtype=X.dtype)

    def fill(rows):
        block = block_of(X, rows)
        n_rows = block.shape[0]
        if n_rows < BLOCK_ROWS and not sparse.issparse(X):
            block = np.concatenate([block, np.zeros((BLOCK_ROWS - n_rows, X.shape[1]), dtype=X.dtype)])
        with np.errstate(over="ignore", invalid="ignore"):
            result[rows] = function(block)[:n_rows]

    for _ in map_in_order(fill, gen_batches(X.shape[0], BLOCK_ROWS)):
        pass
    return result
