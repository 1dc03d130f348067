"""Exhaustive Hamming search with NumPy, in blocks that stay in the cache.

Ranks by (distance, position): a neighbour is a *key* of 64 bits, its distance above its position, so that one integer
comparison settles both and ties always come in order of position.
"""

import numpy as np
from sklearn.utils import gen_batches

from ..codes import to_words, word_distances
from ._hits import RoomForHits, joined_hits

_QUERIES_PER_BLOCK = 16
_PAIRS_PER_BLOCK = 2**17
# Neighbours that are kept for the queries of a block, 8 bytes each and a few times over.
_KEYS_PER_BLOCK = 2**20
_POSITION_BITS = 40
_POSITION_MASK = 2**_POSITION_BITS - 1
_NO_NEIGHBOR = np.iinfo(np.int64).max


class BruteIndex:
    """Codes as words of 64 bits, compared with every query.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_bytes), dtype uint8
        Packed codes.
    """

    def __init__(self, codes):
        self.n_samples = len(codes)
        self._words = to_words(codes)

    def nearest(self, query_codes, n_neighbors, rows=None):
        """Find the nearest codes of each query.

        Parameters
        ----------
        query_codes : ndarray of shape (n_queries, n_bytes), dtype uint8
            Packed codes.

        n_neighbors : int
            How many, at most the number of codes searched.

        rows : ndarray of shape (n_rows,), dtype int64, default=None
            The rows to search, rising; all by default.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), dtype int32
            Number of bits that differ, rising along each row.

        positions : ndarray of shape (n_queries, n_neighbors), dtype int64
            Rows of the database; equal distances come by rising position.
        """
        query_words, words = to_words(query_codes), self._words_of(rows)
        distances = np.empty((len(query_codes), n_neighbors), dtype=np.int32)
        positions = np.empty((len(query_codes), n_neighbors), dtype=np.int64)
        for queries in gen_batches(len(query_codes), max(1, min(_QUERIES_PER_BLOCK, _KEYS_PER_BLOCK // n_neighbors))):
            keys = _nearest_keys(query_words[:, queries], words, n_neighbors)
            distances[queries] = keys >> _POSITION_BITS
            positions[queries] = keys & _POSITION_MASK
        return distances, positions if rows is None else rows[positions]

    def within_radius(self, query_codes, radius, rows=None):
        """Find all codes within a radius of each query.

        Parameters
        ----------
        query_codes : ndarray of shape (n_queries, n_bytes), dtype uint8
            Packed codes.

        radius : float
            Largest distance, inclusive.

        rows : ndarray of shape (n_rows,), dtype int64, default=None
            The rows to search, rising; all by default.

        Returns
        -------
        counts : ndarray of shape (n_queries,), dtype int64
            Number of neighbours of each query.

        distances : ndarray of shape (counts.sum(),), dtype int32
            Distances, query after query, rising within each.

        positions : ndarray of shape (counts.sum(),), dtype int64
            Rows of the database; equal distances come by rising position.
        """
        query_words, words = to_words(query_codes), self._words_of(rows)
        # No queries are one empty block.
        room = RoomForHits()
        blocks = [
            _within_radius_block(query_words[:, start : start + _QUERIES_PER_BLOCK], words, radius, room)
            for start in range(0, max(1, len(query_codes)), _QUERIES_PER_BLOCK)
        ]
        counts, distances, positions = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return counts, distances, positions if rows is None else rows[positions]

    def _words_of(self, rows):
        return self._words if rows is None else self._words[:, rows]


def _nearest_keys(query_words, database_words, n_neighbors):
    """Keep each query's best keys while running over the database; returned sorted."""
    best = np.full((query_words.shape[1], n_neighbors), _NO_NEIGHBOR)
    for start, distances in _distance_blocks(query_words, database_words):
        # Later positions lose ties, so only a strictly smaller distance can enter.
        bounds = best.max(axis=1) >> _POSITION_BITS
        if start == 0 and distances.shape[1] > n_neighbors:
            # Nothing is known yet. Selecting among distances of two bytes first is cheaper than among keys of eight.
            smallest = np.partition(distances.astype(np.uint16), n_neighbors - 1, axis=1)
            bounds = smallest[:, n_neighbors - 1].astype(np.int64) + 1
        # In the small dtype of the distances, which no distance fills, the comparison makes no wide copies.
        bounds = np.minimum(bounds, np.iinfo(distances.dtype).max).astype(distances.dtype)
        enters = distances < bounds[:, None]
        if not enters.any():
            continue
        candidates = _candidate_keys(distances, enters, start, n_neighbors)
        merged = np.concatenate([best, candidates], axis=1)
        best = np.partition(merged, n_neighbors - 1, axis=1)[:, :n_neighbors]
    return np.sort(best, axis=1)


def _candidate_keys(distances, enters, start, n_neighbors):
    """Gather the keys that may enter, one row a query, filled up with `_NO_NEIGHBOR`."""
    n_entering = enters.sum(axis=1)
    rows, columns = np.nonzero(enters)
    ranks = np.arange(len(rows)) - np.repeat(np.cumsum(n_entering) - n_entering, n_entering)
    keys = np.full((len(distances), n_entering.max()), _NO_NEIGHBOR)
    keys[rows, ranks] = (distances[rows, columns].astype(np.int64) << _POSITION_BITS) | (start + columns)
    if keys.shape[1] > n_neighbors:
        keys = np.partition(keys, n_neighbors - 1, axis=1)[:, :n_neighbors]
    return keys


def _within_radius_block(query_words, database_words, radius, room):
    n_queries, pieces = query_words.shape[1], []
    for start, distances in _distance_blocks(query_words, database_words):
        rows, columns = np.nonzero(distances <= radius)
        room.take(len(rows))
        counts = np.bincount(rows, minlength=n_queries)
        pieces.append((counts, distances[rows, columns].astype(np.int32), start + columns))
    return joined_hits(pieces, n_queries)


def _distance_blocks(query_words, database_words):
    """Yield the distances of some queries to the database, block after block, with each block's first position."""
    n_database = database_words.shape[1]
    block_size = max(1, _PAIRS_PER_BLOCK // max(1, query_words.shape[1]))
    # An empty database is one empty block, so that callers need not treat it apart.
    for start in range(0, max(1, n_database), block_size):
        yield start, word_distances(query_words, database_words[:, start : start + block_size])
