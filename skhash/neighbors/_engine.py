"""Which index answers a search: NumPy for small work, compiled loops for large, tables where they help, and threads."""

import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
from joblib import effective_n_jobs

from .._checked_map import CheckedMap
from .._compiled import BreakEven
from .._memory import SMALLEST_CHECKED, available_memory, check_allocation
from ._brute import BruteIndex
from ._grown_map import GrownMap
from ._streamed import PIECE_BYTES, StreamedIndex

# What NumPy takes to compare one word of 64 bits of a query with one of a code, selection included.
_NUMPY_SECONDS_PER_WORD = 4e-9
# The longest code that loops are compiled for, in bytes.
_MAX_COMPILED_BYTES = 512
_FEWEST_QUERIES_PER_THREAD = 8
# Words of the database, of 64 bits, below which a thread costs more than it saves.
_FEWEST_WORDS_PER_THREAD = 2**17
# Smaller databases and longer codes are searched exhaustively before tables of substrings have narrowed them down.
_FEWEST_CODES_FOR_TABLES = 200_000
_MAX_TABLE_BYTES = 16
# What an exhaustive search takes to count a word of 64 bits, with many queries and with few, when memory is the limit.
_FLAT_SECONDS_PER_WORD, _FLAT_SECONDS_PER_WORD_OF_FEW = 7e-11, 4e-10
_FEWEST_IN_BATCH = 10
# What it takes to build tables, a code, and to decide whether to.
_SECONDS_TO_BUILD_PER_CODE = 4e-7
_SECONDS_TO_DECIDE = 0.05
_QUERIES_TO_DECIDE_BY, _CODES_TO_DECIDE_BY = 16, 2**16
_LEAVE_IN_FILE = "save the codes by numpy.save, and fit on numpy.load(file, mmap_mode='r'), which is not copied"
# Queries of a kind after which tables are given up for it if they left most of them unanswered.
_QUERIES_TO_GIVE_UP_AFTER = 16


class SearchEngine:
    """Search over a database of codes that never changes.

    Codes are kept once: as they came, until compiled loops are worth it, then only in the index of those. A memory map
    is not copied but searched where it lies.

    Parameters
    ----------
    codes : ndarray or CheckedMap of shape (n_samples, n_bytes), dtype uint8, or None
        Packed codes, which nobody writes to any more.

    flat : FlatIndex, default=None
        Their index instead.
    """

    def __init__(self, codes, flat=None):
        self.n_samples, self.n_bytes = (flat.n_samples, flat.n_bytes) if codes is None else codes.shape
        self._codes = codes
        self._brute = None
        self._flat = flat
        self._break_even = BreakEven()
        self._tables = None
        # Whether tables are worthwhile for a kind of search, and how long such searches took without knowing.
        self._verdicts, self._undecided_seconds = {}, {}
        # How many queries of a kind the tables were asked, and how many of those they left to an exhaustive search.
        self._n_asked, self._n_left = Counter(), Counter()
        self._seconds_without_tables = 0.0
        self._lock = threading.Lock()

    @classmethod
    def of(cls, codes):
        """Make an engine for codes of the caller.

        Parameters
        ----------
        codes : ndarray of shape (n_samples, n_bytes), dtype uint8
            Packed codes. They are copied, because what the caller does to the array afterwards must not change the
            database, unless they are a large memory map.

        Returns
        -------
        engine : SearchEngine
            New engine.
        """
        if _is_large_map(codes):
            return cls(codes)
        check_allocation("HammingNearestNeighbors", codes.nbytes, f"the copy of {len(codes):,} codes", _LEAVE_IN_FILE)
        return cls(np.array(codes))

    def __getstate__(self):
        # Blocks are made again from the codes, faster than they are read.
        return {"codes": self.codes()}

    def __setstate__(self, state):
        self.__init__(state["codes"])

    def codes(self):
        """Return the codes of the database.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_bytes), dtype uint8
            A copy, or a view of an array that is not to be written to.
        """
        # Another thread may exchange the one for the other meanwhile, never without having set the other first.
        codes, flat = self._codes, self._flat
        if codes is None:
            return flat.codes()
        return np.asarray(codes) if isinstance(codes, (CheckedMap, GrownMap)) else codes

    def extended(self, codes):
        """Return an engine for a database with more codes.

        Parameters
        ----------
        codes : ndarray of shape (n_new, n_bytes), dtype uint8
            Packed codes.

        Returns
        -------
        engine : SearchEngine
            Searches running on this engine are not disturbed.
        """
        if self._flat is None:
            if _is_large_map(self._codes):
                return self._sibling(GrownMap.of(self._codes).extended(codes), None)
            return self._sibling(np.concatenate([self.codes(), codes]), None)
        return self._sibling(None, self._flat.extended(codes))

    def without(self, positions):
        """Return an engine for a database with fewer codes.

        Parameters
        ----------
        positions : ndarray of shape (n_removed,), dtype int64
            Rows of the database, distinct.

        Returns
        -------
        engine : SearchEngine
            Searches running on this engine are not disturbed.
        """
        if self._flat is None:
            if _is_large_map(self._codes):
                return self._sibling(GrownMap.of(self._codes).without(positions), None)
            return self._sibling(np.delete(self.codes(), positions, axis=0), None)
        return self._sibling(None, self._flat.without(positions))

    @property
    def is_read_from_map(self):
        """Whether codes are left where they lie, in a memory map that each search reads."""
        return self._codes is not None and _is_large_map(self._codes)

    def nearest(self, query_codes, n_neighbors, *, rows=None, n_jobs=None, algorithm="auto"):
        """Find the nearest codes of each query.

        Parameters
        ----------
        query_codes : ndarray of shape (n_queries, n_bytes), dtype uint8
            Packed codes.

        n_neighbors : int
            How many, at most the number of codes searched.

        rows : ndarray of shape (n_rows,), dtype int64, default=None
            The rows to search, rising; all by default. A mask of shape (n_samples,) where codes are read from a map.

        n_jobs : int, default=None
            Number of threads, as in joblib.

        algorithm : {"auto", "brute", "mih"}, default="auto"
            How to search.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), dtype int32
            Rising along each row.

        positions : ndarray of shape (n_queries, n_neighbors), dtype int64
            Rows of the database; equal distances come by rising position.
        """
        index = self._choose("nearest", len(query_codes), rows, algorithm)
        n_threads = self._n_threads(n_jobs, len(query_codes))
        kind = "nearest", n_neighbors, len(query_codes) >= _FEWEST_IN_BATCH
        tables = self._tables_for(kind, query_codes, rows, algorithm)
        if tables is not None:
            budget = self._table_budget(len(query_codes))

            def search(queries):
                distances, positions, finished = tables.nearest(queries, n_neighbors, budget)
                self._learn(kind, finished)
                if not finished.all():
                    distances[~finished], positions[~finished] = index.nearest(queries[~finished], n_neighbors)
                return distances, positions

            return _in_threads(search, query_codes, n_threads)
        if n_threads > 1 and not isinstance(index, BruteIndex):
            # One query, or a database that is read from disk, is shared by threads; many queries are shared out.
            few_queries = len(query_codes) < _FEWEST_QUERIES_PER_THREAD * n_threads
            n_parts = min(n_threads, self._n_words // _FEWEST_WORDS_PER_THREAD)
            if n_parts > 1 and (few_queries or isinstance(index, StreamedIndex)):
                with ThreadPoolExecutor(n_parts) as pool:
                    return index.nearest(query_codes, n_neighbors, rows, n_parts, pool.map)
        return _in_threads(lambda queries: index.nearest(queries, n_neighbors, rows), query_codes, n_threads)

    def within_radius(self, query_codes, radius, *, rows=None, n_jobs=None, algorithm="auto"):
        """Find all codes within a radius of each query.

        Parameters
        ----------
        query_codes : ndarray of shape (n_queries, n_bytes), dtype uint8
            Packed codes.

        radius : float
            Largest distance, inclusive.

        rows : ndarray of shape (n_rows,), dtype int64, default=None
            The rows to search, rising; all by default. A mask of shape (n_samples,) where codes are read from a map.

        n_jobs : int, default=None
            Number of threads, as in joblib.

        algorithm : {"auto", "brute", "mih"}, default="auto"
            How to search.

        Returns
        -------
        counts : ndarray of shape (n_queries,), dtype int64
            Number of neighbours of each query.

        distances : ndarray of shape (counts.sum(),), dtype int32
            Distances, query after query, rising within each.

        positions : ndarray of shape (counts.sum(),), dtype int64
            Rows of the database; equal distances come by rising position.
        """
        index = self._choose("within_radius", len(query_codes), rows, algorithm)
        n_threads = self._n_threads(n_jobs, len(query_codes))
        kind = "within_radius", radius, len(query_codes) >= _FEWEST_IN_BATCH
        tables = self._tables_for(kind, query_codes, rows, algorithm)

        def search(queries):
            if tables is None:
                return index.within_radius(queries, radius, rows)
            budget = self._table_budget(len(query_codes))
            *found, finished = tables.within_radius(queries, radius, budget)
            self._learn(kind, finished)
            if finished.all():
                return tuple(found)
            return _interleave(finished, found, index.within_radius(queries[~finished], radius))

        return _in_threads(search, query_codes, n_threads)

    def _sibling(self, codes, flat):
        engine = SearchEngine(codes, flat)
        engine._break_even = self._break_even
        # What was found out about the tables of this database will hold for one that differs a little.
        engine._verdicts = dict(self._verdicts)
        return engine

    @property
    def _n_words(self):
        """Size of the database in words of 64 bits."""
        return self.n_samples * -(-self.n_bytes // 8)

    def _n_threads(self, n_jobs, n_queries):
        # Small work is done before joblib has answered.
        return effective_n_jobs(n_jobs) if n_queries * self._n_words >= _FEWEST_WORDS_PER_THREAD else 1

    def _choose(self, search, n_queries, rows, algorithm):
        """Take the compiled loops where they exist, or where they are worth their compilation."""
        codes = self._codes
        if codes is None:
            return self._flat
        n_searched = self.n_samples if rows is None else count_rows(rows)
        is_compiled = self._is_compiled_worth_it(search, n_queries, n_searched, algorithm)
        if _is_large_map(codes):
            # Transposing codes for a single search takes longer than comparing them with one query.
            return StreamedIndex(codes, _flat_index_class() if is_compiled and n_queries > 1 else BruteIndex)
        return self._flat_index() if is_compiled else self._brute_index(codes)

    def _is_compiled_worth_it(self, search, n_queries, n_searched, algorithm):
        if self.n_bytes > _MAX_COMPILED_BYTES or self.n_samples == 0 or find_spec("numba") is None:
            return False
        if algorithm == "mih" or _is_compiled(search, self.n_bytes):
            return True
        numpy_seconds = n_queries * n_searched * -(-self.n_bytes // 8) * _NUMPY_SECONDS_PER_WORD
        return self._break_even.is_reached(numpy_seconds)

    def _tables_for(self, kind, query_codes, rows, algorithm):
        """Return the tables of substrings if they are to be searched, and build them where that is worthwhile.

        Neither the decision nor the tables are made before exhaustive searches have taken as long as they take. A kind
        of search is its name, its limit, and whether there are many queries.
        """
        if algorithm == "brute" or rows is not None or not self._verdicts.get(kind, True):
            return None
        if algorithm == "mih":
            return self._built_tables() if self.n_samples > 0 and find_spec("numba") is not None else None
        flat = self._flat
        if flat is None or self.n_samples < _FEWEST_CODES_FOR_TABLES or self.n_bytes > _MAX_TABLE_BYTES:
            return None
        flat_seconds = self._flat_seconds(len(query_codes))
        if kind not in self._verdicts:
            seconds = self._undecided_seconds.get(kind, 0.0) + len(query_codes) * flat_seconds
            self._undecided_seconds[kind] = seconds
            if seconds < _SECONDS_TO_DECIDE:
                return None
            self._verdicts[kind] = self._decide(*kind[:2], query_codes, flat, flat_seconds)
            if not self._verdicts[kind]:
                return None
        if self._tables is None:
            self._seconds_without_tables += len(query_codes) * flat_seconds
            if self._seconds_without_tables < self.n_samples * _SECONDS_TO_BUILD_PER_CODE:
                return None
            if not self._has_room_for_tables():
                self._verdicts[kind] = False
                return None
        return self._built_tables()

    def _decide(self, search, limit, query_codes, flat, flat_seconds):
        """Whether tables of substrings are predicted to be faster for such searches, by a few of the queries."""
        from ._multi_index import worthwhile

        step = -(-len(query_codes) // _QUERIES_TO_DECIDE_BY)
        queries = query_codes[::step]
        if search == "nearest":
            limits = flat.nearest(queries, limit)[0][:, -1]
        else:
            limits = np.full(len(queries), min(limit, 8 * self.n_bytes))
        return worthwhile(flat.some_codes(_CODES_TO_DECIDE_BY), self.n_samples, queries, limits, flat_seconds)

    def _learn(self, kind, finished):
        """Give the tables up for a kind of search if they leave most of its queries to an exhaustive search."""
        with self._lock:
            self._n_asked[kind] += len(finished)
            self._n_left[kind] += np.count_nonzero(~finished)
            if self._n_asked[kind] >= _QUERIES_TO_GIVE_UP_AFTER and 2 * self._n_left[kind] > self._n_asked[kind]:
                self._verdicts[kind] = False

    def _built_tables(self):
        with self._lock:
            if self._tables is None:
                from ._multi_index import MultiIndex

                what = f"building the tables of {self.n_samples:,} codes of {self.n_bytes} bytes"
                fix = "use algorithm='brute'"
                check_allocation("HammingNearestNeighbors", self._bytes_to_build_tables(), what, fix)
                self._tables = MultiIndex(self.codes())
            return self._tables

    def _has_room_for_tables(self):
        n_bytes = self._bytes_to_build_tables()
        return n_bytes < SMALLEST_CHECKED or n_bytes <= available_memory()[0]

    def _bytes_to_build_tables(self):
        """What tables take, and the codes where they are read back from the index to build them from."""
        from ._multi_index import building_bytes

        n_bytes = self.n_samples * self.n_bytes if self._codes is None else 0
        return n_bytes + building_bytes(self.n_samples, self.n_bytes)

    def _table_budget(self, n_queries):
        from ._multi_index import SHARE_OF_FLAT

        return SHARE_OF_FLAT * self._flat_seconds(n_queries)

    def _flat_seconds(self, n_queries):
        """What an exhaustive search is expected to take a query."""
        in_batch = n_queries >= _FEWEST_IN_BATCH
        return self._n_words * (_FLAT_SECONDS_PER_WORD if in_batch else _FLAT_SECONDS_PER_WORD_OF_FEW)

    def _brute_index(self, codes):
        if self._brute is None:
            self._brute = BruteIndex(codes)
        return self._brute

    def _flat_index(self):
        with self._lock:
            if self._flat is None:
                n_bytes = self.n_samples * self.n_bytes
                what = f"the index of {self.n_samples:,} codes, beside the codes that it is made from"
                check_allocation("HammingNearestNeighbors", n_bytes, what, _LEAVE_IN_FILE)
                # In this order: another thread that finds no codes finds the index.
                self._flat = _flat_index_class()(self._codes)
                self._codes = self._brute = None
            return self._flat


def count_rows(rows):
    """Count rows that are given by their numbers or by a mask.

    Parameters
    ----------
    rows : ndarray of int or bool
        Numbers, or a mask.

    Returns
    -------
    n_rows : int
        How many.
    """
    return int(np.count_nonzero(rows)) if rows.dtype == bool else len(rows)


def _is_large_map(codes):
    """Whether codes are left where they lie, in a file that is mapped to memory."""
    if isinstance(codes, (CheckedMap, GrownMap)):
        return True
    owner = codes
    while isinstance(owner, np.ndarray) and not isinstance(owner, np.memmap):
        owner = owner.base
    return isinstance(owner, np.memmap) and codes.nbytes > PIECE_BYTES


def _flat_index_class():
    # Imported here because numba takes a while to import.
    from ._flat import FlatIndex

    return FlatIndex


def _is_compiled(search, n_bytes):
    """Whether this process has the loops of a search for a code length, without loading numba to find out."""
    flat = sys.modules.get(f"{__package__}._flat")
    return flat is not None and flat.is_compiled(search, n_bytes)


def _interleave(is_first, first, second):
    """Put together what was found for queries of which some were searched in one way and the others in another."""
    counts = np.empty(len(is_first), dtype=np.int64)
    # Queries that were abandoned in the first way have no entry but a zero there.
    counts[is_first], counts[~is_first] = first[0][is_first], second[0]
    from_first = np.repeat(is_first, counts)
    joined = [counts]
    for one, other in zip(first[1:], second[1:], strict=True):
        values = np.empty(len(from_first), dtype=one.dtype)
        values[from_first], values[~from_first] = one, other
        joined.append(values)
    return tuple(joined)


def _in_threads(search, query_codes, n_threads):
    """Search batches of queries on threads and join the arrays of their results."""
    n_threads = min(n_threads, len(query_codes) // _FEWEST_QUERIES_PER_THREAD)
    if n_threads <= 1:
        return search(query_codes)
    # A few batches a thread even out what other programs do to one of them.
    batches = np.array_split(query_codes, min(4 * n_threads, len(query_codes) // _FEWEST_QUERIES_PER_THREAD))
    with ThreadPoolExecutor(n_threads) as pool:
        parts = list(pool.map(search, batches))
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))
