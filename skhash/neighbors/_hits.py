"""Memory for the hits of a search by radius, whose number nobody knows beforehand."""

import numpy as np

from .._memory import SMALLEST_CHECKED, available_memory

# A distance of 4 bytes and a position of 8.
BYTES_PER_HIT = 12
# Loops that find hits keep each as a key of 8 bytes besides.
_BYTES_PER_HIT_IN_LOOP = 20
# Hits that are found before anybody asks how much memory is left.
UNCHECKED_HITS = SMALLEST_CHECKED // _BYTES_PER_HIT_IN_LOOP
# Hits that are brought into order at once, or those of one query if they are more.
_HITS_AT_ONCE = 2**20


class TooManyHits(Exception):
    """A search by radius found more than fits into the memory that is left.

    Parameters
    ----------
    n_hits : int
        Number found so far.

    n_bytes : int
        What they need beside what has been allocated for them.

    available : int
        What is left.

    limit : str
        What leaves no more.
    """

    def __init__(self, n_hits, n_bytes, available, limit):
        super().__init__(n_hits, n_bytes, available, limit)
        self.n_hits, self.n_bytes, self.available, self.limit = n_hits, n_bytes, available, limit


class RoomForHits:
    """Counts the hits that a search keeps in parts, and refuses those that could not be joined in the end."""

    def __init__(self):
        self._n_hits = self._n_unchecked = 0

    def take(self, n_hits):
        """Count hits that were found.

        Parameters
        ----------
        n_hits : int
            How many more.

        Raises
        ------
        TooManyHits
            If all found so far are too many to be joined in one array.
        """
        self._n_hits += n_hits
        self._n_unchecked += n_hits
        if self._n_unchecked >= UNCHECKED_HITS:
            self._n_unchecked = 0
            available, limit = available_memory()
            n_bytes = BYTES_PER_HIT * self._n_hits
            if n_bytes > available:
                raise TooManyHits(self._n_hits, n_bytes, available, limit)

    def most_hits(self):
        """Compute how many hits a loop could keep in what is left.

        Returns
        -------
        n_hits : int
            At least as many as can be found without asking.
        """
        return max(UNCHECKED_HITS, available_memory()[0] // _BYTES_PER_HIT_IN_LOOP)

    def refuse(self, most_hits):
        """Give up the hits of a loop that found more than it could keep.

        Parameters
        ----------
        most_hits : int
            What it could keep.

        Raises
        ------
        TooManyHits
            Always.
        """
        raise TooManyHits(self._n_hits + most_hits, _BYTES_PER_HIT_IN_LOOP * most_hits, *available_memory())


def joined_hits(pieces, n_queries):
    """Join the hits in pieces of a database, a few queries at a time.

    Parameters
    ----------
    pieces : list of (counts, distances, positions)
        The number of hits of each query, and the hits query after query; in order of position, those of equal distance
        at least.

    n_queries : int
        Number of queries.

    Returns
    -------
    counts : ndarray of shape (n_queries,), dtype int64
        Number of hits of each query.

    distances : ndarray of shape (counts.sum(),), dtype int32
        Query after query, rising within each.

    positions : ndarray of shape (counts.sum(),), dtype int64
        Equal distances come by rising position.
    """
    if not pieces:
        return np.zeros(n_queries, dtype=np.int64), np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64)
    totals = np.sum([counts for counts, *_ in pieces], axis=0, dtype=np.int64)
    stops = np.cumsum(totals)
    distances, positions = np.empty(totals.sum(), dtype=np.int32), np.empty(totals.sum(), dtype=np.int64)
    # Where the hits of each query begin in each piece.
    starts = [np.concatenate([[0], np.cumsum(counts)]) for counts, *_ in pieces]
    first = 0
    while first < n_queries:
        begin = stops[first] - totals[first]
        last = max(first + 1, int(np.searchsorted(stops, begin + _HITS_AT_ONCE, side="right")))
        target = slice(begin, stops[last - 1])
        parts = [slice(of_piece[first], of_piece[last]) for of_piece in starts]
        owners = [np.repeat(np.arange(first, last), counts[first:last]) for counts, *_ in pieces]
        found_distances, found_positions = (
            np.concatenate([piece[i][part] for piece, part in zip(pieces, parts, strict=True)]) for i in (1, 2)
        )
        # Pieces come in order of position, and the sort is stable.
        order = np.lexsort((found_distances, np.concatenate(owners)))
        distances[target], positions[target] = found_distances[order], found_positions[order]
        first = last
    return totals, distances, positions
