r"""Exact multi-index hashing (Norouzi, Punjani and Fleet, 2014): tables of substrings lead to the near codes.

**Idea.** A code of b bits is cut into m substrings. Two codes that differ in at most :math:`m r + a - 1` bits, with
:math:`1 \le a \le m`, differ in at most r bits in one of the first a substrings or in at most r - 1 bits in one of the
others; otherwise they would differ in :math:`a (r + 1) + (m - a) r = m r + a` bits or more. So a search looks up, for
r = 0, 1, ... and in one table after the other, all substrings that differ from that of the query in exactly r bits.
After each step all codes up to one more bit of distance have been seen, and the search ends when that is the distance
of the k-th neighbour. (Bits that are left over belong to no substring; they only add to distances.)

**Tables.** Codes are kept in the order of their first substring, so that what one table leads to lies together; a
*slot* is a place in that order. Each other table lists the slots in the order of its own substring. Where a substring
begins in the list is found through a directory, one bit for each value and a running count for every 64 values, and
the places of the values that occur. Most look-ups end at a bit that is zero, and the bits fit into a cache.

**Size.** With N codes of w words of 64 bits, m substrings of :math:`L = \lfloor b / m \rfloor` bits, and
:math:`V_t \le \min(N, 2^L)` values that occur in table t, the index takes
:math:`8 w N + 4 m N + 4 \sum_t V_t + 12 m 2^L / 64` bytes (from :math:`2^{31}` codes on
:math:`8 w N + 8 m N + 8 \sum_t V_t + 16 m 2^L / 64`). The number of tables is the smallest for which L is at most
:math:`\log_2 N + 1.5`, or 8, and the size is at most four times that of the codes if these are uniformly random; codes
that are worth an index have fewer values and take less. That is possible for codes of whole words from some 25,000
codes on. Short codes, and those that fill little of their last word, need more codes for it (9 bytes: 1.5 million) or
always take more (4 bytes); they get the fewest tables.

References
----------
Norouzi, Punjani and Fleet, "Fast Exact Search in Hamming Space with Multi-Index Hashing", IEEE Transactions on Pattern
Analysis and Machine Intelligence 36 (2014).
"""

import math

import numpy as np

from ._multi_index_kernels import (
    SECONDS_PER_CANDIDATE,
    SECONDS_PER_NEAR,
    SECONDS_PER_PROBE,
    SECONDS_PER_QUERY,
    SECONDS_PER_WORD,
    VALUES_PER_GROUP,
    build_table,
    search_tables,
)

# The index takes at most this many times the bytes of the codes.
_MOST_MEMORY = 4
# Substrings are at most this much longer than log2(n_samples); longer ones would lead to empty places mostly.
_SPARE_BITS = 1.5
_SHORTEST_SUBSTRING = 8
# Codes that stand for all when work is predicted.
_SAMPLED_CODES = 2**16
# A query that takes longer than this share of an exhaustive search is left to that.
SHARE_OF_FLAT = 0.25


class MultiIndex:
    """Tables of substrings.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_bytes), dtype uint8
        Packed codes, at least one.
    """

    def __init__(self, codes):
        self.n_samples, self.n_bytes = codes.shape
        self.n_tables = _n_tables(self.n_samples, self.n_bytes)
        self._length = 8 * self.n_bytes // self.n_tables
        self._masks = _masks(self.n_tables, self._length)
        self._n_ways = np.array([math.comb(self._length, n) for n in range(self._length + 1)] + [np.inf])
        n_groups = 2**self._length // VALUES_PER_GROUP
        entry_type = _entry_type(self.n_samples)
        directory = np.zeros((self.n_tables, n_groups), dtype=np.uint64)
        n_before = np.empty((self.n_tables, n_groups), dtype=entry_type)
        entries = np.empty((self.n_tables, self.n_samples), dtype=entry_type)
        words = _to_rows_of_words(codes)
        starts = []
        for table in range(self.n_tables):
            places = directory[table], n_before[table], entries[table]
            starts.append(build_table(words.ravel(), words.shape[1], table * self._length, self._length, *places))
            if table == 0:
                words = _in_order(words, entries[0])
        self._words, self._entries = words.ravel(), entries.ravel()
        self._directory, self._n_before = directory.ravel(), n_before.ravel()
        self._starts, self._first_starts = np.concatenate(starts), np.cumsum([0, *map(len, starts[:-1])])

    @property
    def nbytes(self):
        """Size of the index in bytes."""
        arrays = self._words, self._entries, self._directory, self._n_before, self._starts
        return sum(array.nbytes for array in arrays)

    def nearest(self, query_codes, n_neighbors, budget=None):
        """Find the nearest codes of each query.

        Parameters
        ----------
        query_codes : ndarray of shape (n_queries, n_bytes), dtype uint8
            Packed codes.

        n_neighbors : int
            How many, at most the number of codes searched.

        budget : float, default=None
            Seconds that a query may take at most, of those that `predict_seconds` predicts; no limit by default. A
            query that would take longer is abandoned.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), dtype int32
            Rising along each row; zeros for queries that were abandoned.

        positions : ndarray of shape (n_queries, n_neighbors), dtype int64
            Equal distances come by rising position; zeros for queries that were abandoned.

        finished : ndarray of shape (n_queries,), dtype bool
            False for queries that were abandoned.
        """
        shape = (len(query_codes), n_neighbors)
        room = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int64)
        counts, found = self._search(query_codes, n_neighbors, 8 * self.n_bytes, budget, *(a.ravel() for a in room))
        finished = counts >= 0
        if finished.all():
            return *room, finished
        for array, values in zip(room, found, strict=True):
            # What was found lies at the beginning of the array that it is moved inside of.
            rows = values.reshape(-1, n_neighbors).copy()
            array[:] = 0
            array[finished] = rows
        return *room, finished

    def within_radius(self, query_codes, radius, budget=None):
        """Find all codes within a radius of each query.

        Parameters
        ----------
        query_codes : ndarray of shape (n_queries, n_bytes), dtype uint8
            Packed codes.

        radius : float
            Largest distance, inclusive.

        budget : float, default=None
            As in `nearest`.

        Returns
        -------
        counts : ndarray of shape (n_queries,), dtype int64
            Number of neighbours of each query; zero for queries that were abandoned.

        distances : ndarray of shape (counts.sum(),), dtype int32
            Distances, query after query, rising within each.

        positions : ndarray of shape (counts.sum(),), dtype int64
            Equal distances come by rising position.

        finished : ndarray of shape (n_queries,), dtype bool
            False for queries that were abandoned.
        """
        radius = int(min(radius, 8 * self.n_bytes))
        room = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64)
        counts, (distances, positions) = self._search(query_codes, self.n_samples, radius, budget, *room)
        return np.maximum(counts, 0), distances, positions, counts >= 0

    def _search(self, query_codes, n_neighbors, radius, budget, distances, positions):
        """Return counts, -1 for abandoned queries, and the distances and positions of all others."""
        query_words = _to_rows_of_words(query_codes)
        counts = np.empty(len(query_codes), dtype=np.int64)
        distances, positions, n_found = search_tables(
            self._words, query_words.shape[1], self._entries, self._directory, self._n_before, self._starts,
            self._first_starts, self._masks, self._length, self._n_ways, query_words.ravel(), n_neighbors, radius,
            math.inf if budget is None else budget, counts, distances, positions,
        )  # fmt: skip
        return counts, (distances[:n_found], positions[:n_found])


def building_bytes(n_samples, n_bytes):
    """Compute the memory that the tables and the codes in their order take at least while an index is built.

    Parameters
    ----------
    n_samples : int
        Number of codes in the database.

    n_bytes : int
        Width of the codes.

    Returns
    -------
    n_bytes : int
        Beside the codes themselves.
    """
    return n_samples * (_n_tables(n_samples, n_bytes) * _entry_type(n_samples).itemsize + -(-n_bytes // 8) * 8)


def predict_seconds(codes, n_samples, query_codes, kth_distances):
    """Predict how long an index that is not built yet would search for each query.

    A search ends when all codes up to the distance of the k-th neighbour have been seen. What it looks at on the way
    follows from the number of codes with each distance from the query in each substring, which a sample tells.

    Parameters
    ----------
    codes : ndarray of shape (n_sampled, n_bytes), dtype uint8
        Packed codes of the database, all or some that stand for them.

    n_samples : int
        Number of codes in the database.

    query_codes : ndarray of shape (n_queries, n_bytes), dtype uint8
        Packed codes, a few.

    kth_distances : ndarray of shape (n_queries,)
        Distance of the last neighbour sought of each.

    Returns
    -------
    seconds : ndarray of shape (n_queries,), dtype float64
        In the seconds of one processor, comparable rather than exact.
    """
    n_bytes = codes.shape[1]
    n_tables = _n_tables(n_samples, n_bytes)
    length = 8 * n_bytes // n_tables
    masks = _masks(n_tables, length)
    sample = np.ascontiguousarray(_to_rows_of_words(codes[:: -(-len(codes) // _SAMPLED_CODES)]).T)
    n_words, n_sampled = sample.shape
    n_ways = np.array([float(math.comb(length, n)) for n in range(length + 1)])
    scale = n_samples / n_sampled
    seconds_per_candidate = SECONDS_PER_CANDIDATE + n_words * SECONDS_PER_WORD
    seconds = np.full(len(query_codes), SECONDS_PER_QUERY)
    for query, (words, kth_distance) in enumerate(zip(_to_rows_of_words(query_codes), kth_distances, strict=True)):
        different = sample ^ words[:, None]
        is_near = np.bitwise_count(different).sum(axis=0) <= kth_distance
        for table, (word, *bits) in enumerate(masks):
            # The tables that are looked up in one step more than the others come first.
            n_steps = min(-(-(int(kth_distance) + 1 - table) // n_tables), length + 1)
            two_words = different[int(word) : int(word) + 2]
            flipped = sum(np.bitwise_count(row & mask) for row, mask in zip(two_words, bits, strict=False))
            is_candidate = flipped < n_steps
            seconds[query] += n_ways[:n_steps].sum() * SECONDS_PER_PROBE
            seconds[query] += scale * np.count_nonzero(is_candidate) * seconds_per_candidate
            seconds[query] += scale * np.count_nonzero(is_candidate & is_near) * SECONDS_PER_NEAR
    return seconds


def worthwhile(codes, n_samples, query_codes, kth_distances, flat_seconds):
    """Decide whether to build the tables, from a few queries whose neighbours are known.

    Parameters
    ----------
    codes : ndarray of shape (n_sampled, n_bytes), dtype uint8
        Packed codes of the database, all or some that stand for them.

    n_samples : int
        Number of codes in the database.

    query_codes : ndarray of shape (n_queries, n_bytes), dtype uint8
        Packed codes, at least one.

    kth_distances : ndarray of shape (n_queries,)
        Distance of the last neighbour sought of each.

    flat_seconds : float
        What an exhaustive search takes a query.

    Returns
    -------
    worthwhile : bool
        Whether the tables are predicted to search in less than a quarter of that time on average, given that queries
        that would take longer are abandoned there and searched exhaustively.
    """
    budget = SHARE_OF_FLAT * flat_seconds
    seconds = predict_seconds(codes, n_samples, query_codes, kth_distances)
    return bool(np.where(seconds <= budget, seconds, budget + flat_seconds).mean() < budget)


def _n_tables(n_samples, n_bytes):
    """The fewest tables whose substrings are short enough and whose size, for random codes, is within the limit."""
    entry_bytes = _entry_type(n_samples).itemsize
    longest = max(_SHORTEST_SUBSTRING, math.log2(n_samples) + _SPARE_BITS)
    short_enough = [n for n in range(1, n_bytes + 1) if 8 * n_bytes // n <= longest]
    for n_tables in short_enough:
        n_values = 2 ** (8 * n_bytes // n_tables)
        n_occurring = n_values * -math.expm1(-n_samples / n_values)
        table_bytes = entry_bytes * (n_samples + n_occurring) + (8 + entry_bytes) * n_values / VALUES_PER_GROUP
        if -(-n_bytes // 8) * 8 * n_samples + n_tables * table_bytes <= _MOST_MEMORY * n_bytes * n_samples:
            return n_tables
    return short_enough[0]


def _entry_type(n_samples):
    return np.dtype(np.int32 if n_samples < 2**31 else np.int64)


def _masks(n_tables, length):
    """The word of a code that each substring begins in, and its bits in that word and in the next one."""
    masks = np.empty((n_tables, 3), dtype=np.uint64)
    for table in range(n_tables):
        word, shift = divmod(table * length, 64)
        bits = (2**length - 1) << shift
        masks[table] = word, bits & (2**64 - 1), bits >> 64
    return masks


def _in_order(words, order):
    """Copy rows of words in some order to a multiple of 64 bytes, so that short rows do not cross cache lines."""
    room = np.empty(words.size + 8, dtype=np.uint64)
    start = -room.ctypes.data % 64 // 8
    copy = room[start : start + words.size].reshape(words.shape)
    # Only this mode writes to the copy at once.
    return np.take(words, order, axis=0, out=copy, mode="clip")


def _to_rows_of_words(codes):
    """Regroup codes into words of 64 bits, one row a code; the bits of a code count from the lowest of its first word.

    Codes of whole words are not copied, unless compiled loops would have to be compiled again for an array like theirs.
    """
    n_samples, n_bytes = codes.shape
    if n_bytes % 8:
        padded = np.zeros((n_samples, -(-n_bytes // 8) * 8), dtype=np.uint8)
        padded[:, :n_bytes] = codes
    else:
        padded = np.ascontiguousarray(codes)
    return np.require(padded.view("<u8"), np.uint64, ["C_CONTIGUOUS", "ALIGNED", "WRITEABLE"])
