"""Nearest neighbours of binary codes by the distance of spherical hashing."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import gen_batches

from .._validation import check_count
from ..codes import check_codes, check_same_width, spherical_word_distances, to_words

__all__ = ["spherical_neighbors"]

# Distances that are computed at once.
_BLOCK_PAIRS = 2**20
# Queries that are compared with a block of the database at once.
_BLOCK_QUERIES = 64


def spherical_neighbors(
    query_codes: ArrayLike, database_codes: ArrayLike, n_neighbors: int = 5
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Find the database codes nearest to query codes in spherical Hamming distance.

    The search is exact and exhaustive, in blocks of bounded memory. Use it for codes of :class:`skhash.SphericalHash`.

    Parameters
    ----------
    query_codes : array-like of shape (n_queries, n_bytes)
        Packed codes.

    database_codes : array-like of shape (n_database, n_bytes)
        Packed codes.

    n_neighbors : int, default=5
        How many to find of each query.

    Returns
    -------
    distances : ndarray of shape (n_queries, n_neighbors), dtype float64
        As from :func:`skhash.codes.spherical_hamming_distances`, rising along each row.

    rows : ndarray of shape (n_queries, n_neighbors), dtype int64
        Positions of the neighbours; equal distances come by rising position.

    Raises
    ------
    TypeError
        If `n_neighbors` is not an integer.
    ValueError
        If an array holds no packed codes, the widths differ, or the database has fewer than `n_neighbors` codes.

    See Also
    --------
    rerank_spherical : Order the shortlist of a search by Hamming distance, which is faster.
    HammingNearestNeighbors : Search by Hamming distance.

    Examples
    --------
    >>> from skhash.codes import pack_bits
    >>> from skhash.neighbors import spherical_neighbors
    >>> database = pack_bits([[0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]])
    >>> distances, rows = spherical_neighbors(pack_bits([[1, 1, 0, 0]]), database, n_neighbors=2)
    >>> distances.round(2)
    array([[0.48, 0.95]])
    >>> rows
    array([[2, 1]])
    """
    name = "spherical_neighbors"
    query_codes = check_codes(query_codes, name=f"{name}: query_codes")
    database_codes = check_codes(database_codes, name=f"{name}: database_codes")
    check_same_width(query_codes, database_codes)
    n_neighbors = check_count(n_neighbors, name=f"{name}: n_neighbors")
    if n_neighbors > len(database_codes):
        raise ValueError(
            f"{name}: n_neighbors={n_neighbors} must be <= {len(database_codes)}, the number of codes in the database; "
            "ask for fewer neighbours."
        )
    query_words, database_words = to_words(query_codes), to_words(database_codes)
    distances = np.empty((len(query_codes), n_neighbors))
    rows = np.empty((len(query_codes), n_neighbors), dtype=np.int64)
    for queries in gen_batches(len(query_codes), _BLOCK_QUERIES):
        distances[queries], rows[queries] = _nearest(query_words[:, queries], database_words, n_neighbors)
    return distances, rows


def _nearest(query_words, database_words, n_neighbors):
    """Keep the nearest codes of each query, block after block of the database."""
    n_queries, n_database = query_words.shape[1], database_words.shape[1]
    found, positions = np.empty((n_queries, 0)), np.empty((n_queries, 0), dtype=np.int64)
    for columns in gen_batches(n_database, _BLOCK_PAIRS // _BLOCK_QUERIES):
        new = spherical_word_distances(query_words, database_words[:, columns])
        # Those found so far come first, by distance and position, so ties go to the lower position.
        candidates = np.concatenate([found, new], axis=1)
        new_positions = np.broadcast_to(np.arange(columns.start, columns.stop), new.shape)
        owners = np.concatenate([positions, new_positions], axis=1)
        order = np.stack([_first_smallest(row, n_neighbors) for row in candidates])
        found, positions = (np.take_along_axis(values, order, axis=1) for values in (candidates, owners))
    return found, positions


def _first_smallest(values, n_smallest):
    """Find the places of the smallest values in their order, ties by place."""
    if n_smallest >= len(values):
        return np.argsort(values, kind="stable")
    limit = np.partition(values, n_smallest - 1)[n_smallest - 1]
    places = np.flatnonzero(values <= limit)
    return places[np.argsort(values[places], kind="stable")[:n_smallest]]
