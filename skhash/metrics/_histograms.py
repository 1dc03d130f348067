"""Histograms of pairs: how many database items of which relevance lie at which Hamming distance from every query."""

import math
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from joblib import effective_n_jobs
from sklearn.utils import gen_batches

from .._compiled import BreakEven
from ..codes import to_words, word_distances

# Pairs that NumPy compares at once: the temporaries of a block then stay in the processor's cache.
_BLOCK_PAIRS = 2**16
# What NumPy takes to count a pair, and for each word of codes and labels to compare.
_NUMPY_SECONDS_PER_PAIR = 7e-9
_NUMPY_SECONDS_PER_WORD = 2e-9
# The compiled loops sort and transpose the database first; fewer queries do not make up for that.
_FEWEST_COMPILED_QUERIES = 16
# They number the pairs of a level and a distance, and have a counter of 320 bytes for each.
_MOST_COMPILED_DIGITS = 15
# Queries and groups of 8192 items whose digits, 1 KB each, wait in the cache to be counted.
_TILE_QUERIES, _GROUPS_AT_ONCE = 4, 8

_break_even = BreakEven()


def make_histograms(query_codes, database_codes, relevance):
    """Take the compiled loops where this process has them or soon would have, and NumPy for small work.

    Parameters
    ----------
    query_codes, database_codes : ndarray of shape (n, n_bytes), dtype uint8
        Packed codes.

    relevance : ClassRelevance or IndicatorRelevance
        Levels of all pairs.

    Returns
    -------
    histograms : NumpyHistograms or CompiledHistograms
        Both count the same.
    """
    n_queries, n_bytes = query_codes.shape
    n_digits = _n_digits(8 * n_bytes + 1) + _n_digits(relevance.n_levels)
    if n_queries >= _FEWEST_COMPILED_QUERIES and n_digits <= _MOST_COMPILED_DIGITS:
        n_words = -(-n_bytes // 8) + relevance.n_words
        seconds_per_pair = _NUMPY_SECONDS_PER_PAIR + n_words * _NUMPY_SECONDS_PER_WORD
        if _is_compiled() or _break_even.is_reached(n_queries * len(database_codes) * seconds_per_pair):
            return CompiledHistograms(query_codes, database_codes, relevance)
    return NumpyHistograms(query_codes, database_codes, relevance)


def _is_compiled():
    """Whether this process has the loops, without loading numba to find out."""
    kernels = sys.modules.get(f"{__package__}._histogram_kernels")
    return kernels is not None and bool(kernels.add_histograms.signatures)


class NumpyHistograms:
    """Histograms counted by NumPy, block by block.

    Parameters
    ----------
    query_codes, database_codes : ndarray of shape (n, n_bytes), dtype uint8
        Packed codes.

    relevance : ClassRelevance or IndicatorRelevance
        Levels of all pairs.
    """

    def __init__(self, query_codes, database_codes, relevance):
        self._relevance = relevance
        self._n_distances = 8 * query_codes.shape[1] + 1
        self._query_words, self._database_words = to_words(query_codes), to_words(database_codes)

    def count(self, rows):
        """Count the pairs of some queries.

        Parameters
        ----------
        rows : slice
            From the first query to before the last.

        Returns
        -------
        counts : ndarray of shape (n_rows, n_levels, n_distances), dtype int64
            Number of database items of each level at each distance.
        """
        batch_size = max(1, _BLOCK_PAIRS // self._database_words.shape[1])
        starts = range(rows.start, rows.stop, batch_size)
        return np.concatenate([self._count_batch(slice(i, min(i + batch_size, rows.stop))) for i in starts])

    def _count_batch(self, rows):
        """Number the bins (query, level, distance), and count the pairs in each."""
        shape = (rows.stop - rows.start, self._relevance.n_levels, self._n_distances)
        counts = np.zeros(shape, dtype=np.int64)
        first_bins = np.arange(0, counts.size, counts[0].size)[:, None]
        for columns in gen_batches(self._database_words.shape[1], _BLOCK_PAIRS):
            bins = self._relevance.levels(rows, columns) * self._n_distances
            bins += word_distances(self._query_words[:, rows], self._database_words[:, columns])
            bins += first_bins
            counts += np.bincount(bins.ravel(), minlength=counts.size).reshape(shape)
        return counts


class CompiledHistograms:
    """Histograms counted by compiled loops, on as many threads as :func:`joblib.parallel_config` allows (default: 1).

    Parameters
    ----------
    query_codes, database_codes : ndarray of shape (n, n_bytes), dtype uint8
        Packed codes.

    relevance : ClassRelevance or IndicatorRelevance
        Levels of all pairs.
    """

    def __init__(self, query_codes, database_codes, relevance):
        from . import _histogram_kernels

        self._kernels = _histogram_kernels
        self._shape = (relevance.n_levels, 8 * query_codes.shape[1] + 1)
        self._n_items = len(database_codes)
        loops = relevance.for_loops()
        # Copies, as numba would compile once more for arrays that cannot be written to.
        self._query_codes, self._query_labels = query_codes.copy(), loops.query_bytes
        self._ranges = (loops.first_relevant, loops.last_relevant)
        self._code_rows = self._bit_rows(database_codes[loops.order])
        self._label_rows = self._bit_rows(loops.database_bytes)

    def count(self, rows):
        """Count the pairs of some queries.

        Parameters
        ----------
        rows : slice
            From the first query to before the last.

        Returns
        -------
        counts : ndarray of shape (n_rows, n_levels, n_distances), dtype int64
            Number of database items of each level at each distance.
        """
        counts = np.zeros((rows.stop - rows.start, *self._shape), dtype=np.int64)
        codes, labels, first_relevant, last_relevant = (
            array[rows] for array in (self._query_codes, self._query_labels, *self._ranges)
        )
        n_digits = (_n_digits(self._shape[1]), _n_digits(self._shape[0]))

        def count_batch(batch):
            self._kernels.add_histograms(
                codes[batch], self._code_rows, labels[batch], self._label_rows, first_relevant[batch],
                last_relevant[batch], self._n_items, *n_digits, self._room(*n_digits), counts[batch],
            )  # fmt: skip

        n_threads = effective_n_jobs(None)
        if n_threads == 1:
            count_batch(slice(None))
        else:
            # A few batches a thread even out what other programs do to one of them.
            batches = gen_batches(len(counts), -(-len(counts) // (4 * n_threads)))
            with ThreadPoolExecutor(n_threads) as pool:
                list(pool.map(count_batch, batches))
        return counts

    def _bit_rows(self, packed):
        """Transpose packed bits into rows of 512 items, shape (n_blocks, n_rows, 8), as many as adders take at once."""
        kernels = self._kernels
        n_items, n_bytes = packed.shape
        n_blocks = -(-n_items // kernels.BLOCK_ITEMS)
        n_rows = -(-8 * n_bytes // kernels.ROWS_AT_ONCE) * kernels.ROWS_AT_ONCE
        rows = _aligned_zeros((n_blocks, n_rows, kernels.ROW_WORDS))
        plane = np.zeros(n_blocks * kernels.BLOCK_ITEMS, dtype=np.uint8)
        for byte in range(n_bytes):
            plane[:n_items] = packed[:, byte]
            for bit in range(8):
                row = np.packbits(plane & (128 >> bit), bitorder="little")
                rows[:, 8 * byte + bit].view(np.uint8)[...] = row.reshape(n_blocks, -1)
        return rows

    def _room(self, n_distance_digits, n_level_digits):
        """Make the arrays that the loops of one thread work in."""
        kernels = self._kernels
        n_blocks, n_code_rows, _ = self._code_rows.shape
        n_groups = min(_GROUPS_AT_ONCE, -(-n_blocks // kernels.GROUP_BLOCKS))
        n_stored_digits = n_distance_digits + max(n_level_digits, kernels.N_SUM_DIGITS)
        n_leaves = 2 ** (n_distance_digits + n_level_digits - kernels.N_LOW_DIGITS)
        return kernels.Room(
            code_masks=np.zeros((_TILE_QUERIES, n_code_rows), dtype=np.int64),
            label_masks=np.zeros((_TILE_QUERIES, self._label_rows.shape[1]), dtype=np.int64),
            digits=_aligned_zeros((_TILE_QUERIES, n_groups, n_stored_digits, kernels.GROUP_WORDS)),
            tree=_aligned_zeros((2 * n_leaves, kernels.GROUP_WORDS)),
            low=_aligned_zeros((kernels.N_LOW, kernels.GROUP_WORDS)),
            counters=_aligned_zeros((kernels.N_LOW * n_leaves, kernels.COUNTER_ROWS, kernels.ROW_WORDS)),
        )


def _n_digits(n_numbers):
    """Number of binary digits of the numbers from 0 to before `n_numbers`."""
    return (n_numbers - 1).bit_length()


def _aligned_zeros(shape):
    """Words of zeros from the start of a cache line on, so that no row of 8 words lies in two of them."""
    n_words = math.prod(shape)
    words = np.zeros(n_words + 8, dtype=np.uint64)
    first = -words.ctypes.data % 64 // 8
    return words[first : first + n_words].reshape(shape)
