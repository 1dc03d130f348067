"""Which index answers a search: NumPy for small work, compiled loops for large, and threads over queries."""

import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
from joblib import effective_n_jobs

from ._brute import BruteIndex

# What NumPy takes to compare one word of 64 bits of a query with one of a code, selection included.
_NUMPY_SECONDS_PER_WORD = 4e-9
# What it takes to have compiled loops where this process has none yet: from half a second, when numba is loaded and has
# them in its cache on disk, to eight, when it compiles them for the first time on a machine.
_SECONDS_TO_COMPILE = 3.0
# The longest code that loops are compiled for, in bytes.
_MAX_COMPILED_BYTES = 128
_FEWEST_QUERIES_PER_THREAD = 8


class SearchEngine:
    """Exhaustive search over a database of codes.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_bytes), dtype uint8
        Packed codes.
    """

    def __init__(self, codes):
        self.codes = codes
        self._brute = None
        self._flat = None
        self._searches_on_flat = set()
        self._numpy_seconds = 0.0

    def __getstate__(self):
        # Indexes are made again from the codes, faster than they are read.
        return {**self.__dict__, "_brute": None, "_flat": None, "_searches_on_flat": set()}

    def extended(self, codes):
        """Return an engine for a database to which rows were appended, without building its index again.

        Parameters
        ----------
        codes : ndarray of shape (n_samples + n_new, n_bytes), dtype uint8
            The codes of this engine and more.

        Returns
        -------
        engine : SearchEngine
            Searches running on this engine are not disturbed.
        """
        engine = SearchEngine(codes)
        engine._numpy_seconds = self._numpy_seconds
        if self._flat is not None:
            engine._flat = self._flat.extended(codes[len(self.codes) :])
            engine._searches_on_flat = set(self._searches_on_flat)
        return engine

    def nearest(self, query_codes, n_neighbors, *, rows=None, n_jobs=None):
        """Find the nearest codes of each query.

        Parameters
        ----------
        query_codes : ndarray of shape (n_queries, n_bytes), dtype uint8
            Packed codes.

        n_neighbors : int
            How many, at most the number of codes searched.

        rows : ndarray of shape (n_rows,), dtype int64, default=None
            The rows to search, rising; all by default.

        n_jobs : int, default=None
            Number of threads, as in joblib.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), dtype int32
            Rising along each row.

        positions : ndarray of shape (n_queries, n_neighbors), dtype int64
            Rows of the database; equal distances come by rising position.
        """
        index = self._choose("nearest", len(query_codes), rows)
        return _in_threads(lambda queries: index.nearest(queries, n_neighbors, rows), query_codes, n_jobs)

    def within_radius(self, query_codes, radius, *, rows=None, n_jobs=None):
        """Find all codes within a radius of each query.

        Parameters
        ----------
        query_codes : ndarray of shape (n_queries, n_bytes), dtype uint8
            Packed codes.

        radius : float
            Largest distance, inclusive.

        rows : ndarray of shape (n_rows,), dtype int64, default=None
            The rows to search, rising; all by default.

        n_jobs : int, default=None
            Number of threads, as in joblib.

        Returns
        -------
        counts : ndarray of shape (n_queries,), dtype int64
            Number of neighbours of each query.

        distances : ndarray of shape (counts.sum(),), dtype int32
            Distances, query after query, rising within each.

        positions : ndarray of shape (counts.sum(),), dtype int64
            Rows of the database; equal distances come by rising position.
        """
        index = self._choose("within_radius", len(query_codes), rows)
        return _in_threads(lambda queries: index.within_radius(queries, radius, rows), query_codes, n_jobs)

    def _choose(self, search, n_queries, rows):
        """Take the compiled loops where they exist, or once NumPy has been busy for as long as compiling takes.

        Small work never waits for the compiler, and much small work waits for it once: at worst, about twice the time
        of the better choice passes.
        """
        if search in self._searches_on_flat:
            return self._flat
        n_codes, n_bytes = self.codes.shape
        if n_bytes > _MAX_COMPILED_BYTES or n_codes == 0 or find_spec("numba") is None:
            return self._brute_index()
        if not _is_compiled(search, n_bytes):
            n_searched = n_codes if rows is None else len(rows)
            self._numpy_seconds += n_queries * n_searched * -(-n_bytes // 8) * _NUMPY_SECONDS_PER_WORD
            if self._numpy_seconds < _SECONDS_TO_COMPILE:
                return self._brute_index()
        index = self._flat_index()
        self._searches_on_flat.add(search)
        return index

    def _brute_index(self):
        if self._brute is None:
            self._brute = BruteIndex(self.codes)
        return self._brute

    def _flat_index(self):
        if self._flat is None:
            from ._flat import FlatIndex

            self._flat = FlatIndex(self.codes)
        return self._flat


def _is_compiled(search, n_bytes):
    """Whether this process has the loops of a search for a code length, without loading numba to find out."""
    flat = sys.modules.get(f"{__package__}._flat")
    return flat is not None and flat.is_compiled(search, n_bytes)


def _in_threads(search, query_codes, n_jobs):
    """Search batches of queries on threads and join the arrays of their results."""
    n_threads = min(effective_n_jobs(n_jobs), len(query_codes) // _FEWEST_QUERIES_PER_THREAD)
    if n_threads <= 1:
        return search(query_codes)
    # A few batches a thread even out what other programs do to one of them.
    batches = np.array_split(query_codes, min(4 * n_threads, len(query_codes) // _FEWEST_QUERIES_PER_THREAD))
    with ThreadPoolExecutor(n_threads) as pool:
        parts = list(pool.map(search, batches))
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))
