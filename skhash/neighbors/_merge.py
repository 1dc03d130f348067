"""Joining the neighbours found in parts of a database."""

import numpy as np

# Neighbours that are sorted at once.
_FOUND_AT_ONCE = 2**20


def merge_nearest(parts, n_neighbors):
    """Keep the nearest of the neighbours found in consecutive parts of a database.

    Parameters
    ----------
    parts : list of (distances, positions)
        Arrays of shape (n_queries, n_found), sorted by (distance, position), in order of position.

    n_neighbors : int
        How many to keep of each query, or all that were found if they are fewer.

    Returns
    -------
    distances : ndarray of shape (n_queries, n_kept), dtype int32
        Rising along each row.

    positions : ndarray of shape (n_queries, n_kept), dtype int64
        Equal distances come by rising position.
    """
    n_queries, n_found = len(parts[0][0]), sum(distances.shape[1] for distances, _ in parts)
    # The first parts may hold fewer than are sought in all.
    shape = n_queries, min(n_neighbors, n_found)
    merged = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.int64)
    n_at_once = max(1, _FOUND_AT_ONCE // n_found)
    for start in range(0, n_queries, n_at_once):
        queries = slice(start, start + n_at_once)
        distances, positions = (
            np.concatenate([array[queries] for array in arrays], axis=1) for arrays in zip(*parts, strict=True)
        )
        # Parts come in order of position, so a stable sort by distance is one by (distance, position).
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :n_neighbors]
        for target, values in zip(merged, (distances, positions), strict=True):
            target[queries] = np.take_along_axis(values, nearest, axis=1)
    return merged
