"""The array that features are written to, which is the largest thing that an extractor makes."""

import numpy as np

from .._memory import check_allocation

# Rows that are moved together.
_BLOCK_ROWS = 256


def room_for_features(name, n_images, n_features):
    """Make room for the features of all images.

    Parameters
    ----------
    name : str
        The extractor, for the error.

    n_images : int
        Number of rows.

    n_features : int
        Number of columns.

    Returns
    -------
    features : ndarray of shape (n_images, n_features), dtype float32
        Not yet filled.

    Raises
    ------
    MemoryError
        If there is no memory for them, before any image is decoded.
    """
    what = f"the result, {n_features:,} features of {n_images:,} images"
    fix = "transform fewer images at a time, and keep the features in a file (numpy.memmap)"
    check_allocation(name, 4 * n_images * n_features, what, fix)
    return np.empty((n_images, n_features), dtype=np.float32)


def without_rows(features, skipped):
    """Leave rows out in place, as a copy might not find room.

    Parameters
    ----------
    features : ndarray of shape (n_images, n_features)
        Rows, which are moved.

    skipped : list of int
        Positions of those that go.

    Returns
    -------
    features : ndarray of shape (n_images - n_skipped, n_features)
        The first rows of the same array, now the others in their order.
    """
    kept = np.delete(np.arange(len(features)), skipped)
    for start in range(0, len(kept), _BLOCK_ROWS):
        # No row moves to behind where it was.
        block = kept[start : start + _BLOCK_ROWS]
        features[start : start + len(block)] = features[block]
    return features[: len(kept)]
