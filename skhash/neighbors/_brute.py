"""Exhaustive Hamming search with NumPy, in blocks that stay in the cache.

Ranks by (distance, position): a neighbour is a *key* of 64 bits, its distance above its position, so that one integer
comparison settles both and ties always come in order of position.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from ..codes import word_distances

_QUERIES_PER_BLOCK = 16
_PAIRS_PER_BLOCK = 2**17
_POSITION_BITS = 40
_POSITION_MASK = 2**_POSITION_BITS - 1
_NO_NEIGHBOR = np.iinfo(np.int64).max


def nearest(query_words: NDArray[np.uint64], database_words: NDArray[np.uint64], n_neighbors: int):
    """Find the nearest database codes of each query.

    Parameters
    ----------
    query_words : ndarray of shape (n_words, n_queries), dtype uint64
        From :func:`skhash.codes.to_words`.

    database_words : ndarray of shape (n_words, n_database), dtype uint64
        From :func:`skhash.codes.to_words`.

    n_neighbors : int
        How many, at most `n_database`.

    Returns
    -------
    distances : ndarray of shape (n_queries, n_neighbors), dtype int32
        Number of bits that differ, rising along each row.

    positions : ndarray of shape (n_queries, n_neighbors), dtype int64
        Columns of `database_words`; equal distances come by rising position.
    """
    n_queries = query_words.shape[1]
    distances = np.empty((n_queries, n_neighbors), dtype=np.int32)
    positions = np.empty((n_queries, n_neighbors), dtype=np.int64)
    for rows in gen_batches(n_queries, _QUERIES_PER_BLOCK):
        keys = _nearest_keys(query_words[:, rows], database_words, n_neighbors)
        distances[rows] = keys >> _POSITION_BITS
        positions[rows] = keys & _POSITION_MASK
    return distances, positions


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


def within_radius(query_words: NDArray[np.uint64], database_words: NDArray[np.uint64], radius: float):
    """Find the database codes within a radius of each query.

    Parameters
    ----------
    query_words : ndarray of shape (n_words, n_queries), dtype uint64
        From :func:`skhash.codes.to_words`.

    database_words : ndarray of shape (n_words, n_database), dtype uint64
        From :func:`skhash.codes.to_words`.

    radius : float
        Largest distance, inclusive.

    Returns
    -------
    counts : ndarray of shape (n_queries,), dtype int64
        Number of neighbours of each query.

    distances : ndarray of shape (counts.sum(),), dtype int32
        Distances, query after query, rising within each.

    positions : ndarray of shape (counts.sum(),), dtype int64
        Columns of `database_words`; equal distances come by rising position.
    """
    blocks = [
        _within_radius_block(query_words[:, rows], database_words, radius)
        for rows in gen_batches(query_words.shape[1], _QUERIES_PER_BLOCK)
    ]
    counts, distances, positions = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return counts, distances, positions


def _within_radius_block(query_words, database_words, radius):
    found = []
    for start, distances in _distance_blocks(query_words, database_words):
        rows, columns = np.nonzero(distances <= radius)
        found.append((rows, distances[rows, columns].astype(np.int32), start + columns))
    rows, distances, positions = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((positions, distances, rows))
    counts = np.bincount(rows, minlength=query_words.shape[1])
    return counts, distances[order], positions[order]


def _distance_blocks(query_words, database_words):
    """Yield the distances of some queries to the database, block after block, with each block's first position."""
    n_database = database_words.shape[1]
    block_size = max(1, _PAIRS_PER_BLOCK // query_words.shape[1])
    # An empty database is one empty block, so that callers need not treat it apart.
    for start in range(0, max(1, n_database), block_size):
        yield start, word_distances(query_words, database_words[:, start : start + block_size])
