"""Rows in blocks: bounded memory, and results that do not depend on threads or on the batch a row arrives in.

A matrix product rounds differently when BLAS picks another kernel, and it picks by the shape of the operands and the
number of threads. A code bit flips where that rounding crosses zero. So every product here has the same number of
rows, runs on one BLAS thread, and blocks, not products, are spread over threads.

Rows are cast, projected, checked and packed a few blocks at a time, while they are in the cache: features are read
from memory once, and no copy of all of them is made. Blocks that are handled together form a stack, an array of shape
(n_blocks, BLOCK_ROWS, n_features), because NumPy multiplies a stack block by block without coming back to Python.
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

# Rows of one matrix product. On 512 features, products of 4096 rows save 1 % of the time at 64 bits, 4 % at 256.
BLOCK_ROWS = 256
# Blocks that a thread handles together: enough to make Python's share small, few enough to stay in the cache.
_STACKED_BLOCKS = 4


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


def float_dtype(X):
    """Name the dtype in which features are projected.

    Parameters
    ----------
    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
        Features.

    Returns
    -------
    dtype : dtype
        float32 for features in float16 or float32, else float64.
    """
    return np.dtype(np.float32 if X.dtype in (np.float16, np.float32) else np.float64)


def block_of(X, rows):
    """Take rows as floats, in one memory order whatever that of X, because BLAS rounds differently for another one.

    Parameters
    ----------
    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
        Matrix.

    rows : slice
        Which rows.

    Returns
    -------
    block : {ndarray, CSR matrix} of shape (n_rows, n_features)
        Of `float_dtype(X)`, C-contiguous if dense; a view where X is so.
    """
    block = X[rows]
    if sparse.issparse(block):
        return block.astype(float_dtype(X), copy=False)
    return np.ascontiguousarray(block, dtype=float_dtype(X))


def rows_at(X, positions):
    """Take rows, without a copy where they are all of them.

    Parameters
    ----------
    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
        Matrix.

    positions : ndarray of shape (n,), dtype int
        Different rows, ascending.

    Returns
    -------
    rows : {ndarray, CSR matrix} of shape (n, n_features)
        `X` itself, or a copy of some of its rows.
    """
    return X if len(positions) == X.shape[0] else X[positions]


class SelectedRows:
    """Rows of a matrix that are copied a block at a time, as too many would be too large a copy.

    Parameters
    ----------
    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
        Matrix.

    positions : ndarray of shape (n,), dtype int
        Different rows, ascending.
    """

    def __init__(self, X, positions):
        self._X, self._positions = X, positions
        self.shape, self.dtype = (len(positions), X.shape[1]), X.dtype

    def __getitem__(self, rows):
        return self._X[self._positions[rows]]


def stacks_of(n_samples):
    """Divide rows among stacks.

    Parameters
    ----------
    n_samples : int
        Number of rows.

    Yields
    ------
    rows : slice
        Rows of one stack.
    """
    return gen_batches(n_samples, _STACKED_BLOCKS * BLOCK_ROWS)


def stack(block):
    """Stack rows in blocks of exactly `BLOCK_ROWS`, the last one padded with rows of zeros.

    Parameters
    ----------
    block : ndarray of shape (n_rows, n_features)
        C-contiguous.

    Returns
    -------
    stacked : ndarray of shape (n_blocks, BLOCK_ROWS, n_features)
        A view where no padding was needed.
    """
    n_rows, n_features = block.shape
    n_padding = -n_rows % BLOCK_ROWS
    if n_padding:
        block = np.concatenate([block, np.zeros((n_padding, n_features), dtype=block.dtype)])
    return block.reshape(-1, BLOCK_ROWS, n_features)


def apply_to_rows(function: Callable, X, n_outputs: int, dtype) -> np.ndarray:
    """Apply a function of rows to stacks of blocks of exactly `BLOCK_ROWS` rows each.

    A row gives the same bits of the result whichever rows come with it.

    Parameters
    ----------
    function : callable
        Maps an array of shape (..., n_features) and of `float_dtype(X)` to one of shape (..., n_outputs).

    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
        Rows. Sparse rows are passed as matrices without padding, as sparse products handle each row by itself.

    n_outputs : int
        Width of the result.

    dtype : dtype
        Of the result.

    Returns
    -------
    result : ndarray of shape (n_samples, n_outputs)
        What the function gave for each row.
    """
    result = np.empty((X.shape[0], n_outputs), dtype=dtype)

    def fill(rows):
        result[rows] = _outputs(function, X, rows, n_outputs)

    for _ in map_in_order(fill, stacks_of(X.shape[0])):
        pass
    return result


def outputs_of_stacks(function: Callable, X, n_outputs: int) -> Iterator[np.ndarray]:
    """Apply a function of rows as `apply_to_rows` does, and hand its outputs out a stack at a time.

    Parameters
    ----------
    function, X, n_outputs
        As there.

    Yields
    ------
    outputs : ndarray of shape (n_rows, n_outputs)
        What the function gave for the rows of one stack, in order.
    """
    yield from map_in_order(lambda rows: _outputs(function, X, rows, n_outputs), stacks_of(X.shape[0]))


def _outputs(function, X, rows, n_outputs):
    block = block_of(X, rows)
    with np.errstate(over="ignore", invalid="ignore"):
        outputs = function(block if sparse.issparse(block) else stack(block))
    return outputs.reshape(-1, n_outputs)[: block.shape[0]]
