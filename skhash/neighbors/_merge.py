"""Joining the neighbours found in parts of a database."""

import numpy as np


def merge_nearest(parts, n_neighbors):
    """Keep the nearest of the neighbours found in consecutive parts of a database.

    Parameters
    ----------
    parts : list of (distances, positions)
        Arrays of shape (n_queries, n_found), sorted by (distance, position), in order of position.

    n_neighbors : int
        How many to keep of each query, at most the number found.

    Returns
    -------
    distances : ndarray of shape (n_queries, n_neighbors), dtype int32
        Rising along each row.

    positions : ndarray of shape (n_queries, n_neighbors), dtype int64
        Equal distances come by rising position.
    """
    distances, positions = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
    # Parts come in order of position, so a stable sort by distance is one by (distance, position).
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :n_neighbors]
    return np.take_along_axis(distances, nearest, axis=1), np.take_along_axis(positions, nearest, axis=1)
