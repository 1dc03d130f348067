"""Anchors, and what rows look like from them: Gaussian kernels, and weights on the nearest ones."""

import numpy as np
from scipy import sparse
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils import check_random_state

from ._blocks import block_of, float_dtype, single_threaded_blas

# Rows among which k-means looks for anchors, for each anchor.
_ROWS_PER_ANCHOR = 50

# Rows whose distances to all anchors the width of a kernel is taken from.
_ROWS_FOR_WIDTH = 2000


def choose_anchors(X, n_anchors, random_state, *, method="random"):
    """Choose rows, or centres of clusters of rows, that others are described by.

    Parameters
    ----------
    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
        Rows.

    n_anchors : int
        How many, at most the number of rows.

    random_state : int, RandomState instance or None
        Seed.

    method : {"random", "kmeans"}, default="random"
        Different rows at random, or the centres that k-means finds among 50 random rows for each.

    Returns
    -------
    anchors : ndarray of shape (n_anchors, n_features)
        Dense, of `float_dtype(X)`.
    """
    random = check_random_state(random_state)
    n_rows = n_anchors if method == "random" else min(X.shape[0], _ROWS_PER_ANCHOR * n_anchors)
    rows = np.sort(random.permutation(X.shape[0])[:n_rows])
    sample = block_of(X, rows)
    if sparse.issparse(sample):
        sample = sample.toarray()
    if method == "random":
        return sample
    with single_threaded_blas():
        kmeans = MiniBatchKMeans(
            n_anchors, batch_size=4096, n_init=1, max_iter=20, random_state=random.randint(2**31 - 1)
        )
        return kmeans.fit(sample).cluster_centers_.astype(float_dtype(X))


def squared_distances(rows, anchors):
    """Compute squared Euclidean distances to anchors, for a stack of rows or a sparse matrix.

    Parameters
    ----------
    rows : {ndarray of shape (..., n_features), CSR matrix}
        Rows.

    anchors : ndarray of shape (n_anchors, n_features)
        Anchors, in the dtype of the rows.

    Returns
    -------
    distances : ndarray of shape (..., n_anchors)
        Not below 0. NaN and infinity in a row come out as NaN.
    """
    anchors = anchors.astype(rows.dtype, copy=False)
    anchor_norms = np.einsum("ij,ij->i", anchors, anchors)
    if sparse.issparse(rows):
        row_norms = np.asarray(rows.multiply(rows).sum(axis=1)).reshape(-1, 1)
    else:
        row_norms = np.einsum("...j,...j->...", rows, rows)[..., None]
    distances = rows @ anchors.T
    distances *= -2
    distances += row_norms
    distances += anchor_norms
    # np.maximum keeps NaN.
    return np.maximum(distances, 0, out=distances)


def kernel_width(X, anchors, random_state):
    """Take the mean distance of random rows to the anchors, the width that a Gaussian kernel of them needs.

    Parameters
    ----------
    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
        Rows.

    anchors : ndarray of shape (n_anchors, n_features)
        Anchors.

    random_state : int, RandomState instance or None
        Seed of the choice of rows.

    Returns
    -------
    width : float
        The sigma of ``exp(-d^2 / (2 sigma^2))``; 1 where all rows and anchors are equal, not finite where squares
        of features overflow.
    """
    rows = np.sort(check_random_state(random_state).permutation(X.shape[0])[:_ROWS_FOR_WIDTH])
    with single_threaded_blas():
        width = float(euclidean_distances(block_of(X, rows), anchors).mean())
    return 1.0 if width == 0 else width


def gaussian_kernel(rows, anchors, width):
    r"""Compute ``exp(-||x - a||^2 / (2 width^2))`` for a stack of rows or a sparse matrix.

    Parameters
    ----------
    rows : {ndarray of shape (..., n_features), CSR matrix}
        Rows.

    anchors : ndarray of shape (n_anchors, n_features)
        Anchors.

    width : float
        Standard deviation of the kernel.

    Returns
    -------
    kernel : ndarray of shape (..., n_anchors)
        Between 0 and 1; NaN where a row holds NaN or infinity.
    """
    distances = squared_distances(rows, anchors)
    # Of an infinite distance the kernel would be an ordinary 0, and the row would pass for a finite one.
    distances[~np.isfinite(distances)] = np.nan
    distances /= -2 * width**2
    return np.exp(distances, out=distances)


def nearest_anchor_weights(rows, anchors, n_nearest, width):
    r"""Describe rows by kernel weights on their nearest anchors that sum to 1 (the matrix Z of an anchor graph).

    Parameters
    ----------
    rows : {ndarray of shape (..., n_features), CSR matrix}
        Rows.

    anchors : ndarray of shape (n_anchors, n_features)
        Anchors.

    n_nearest : int
        Anchors with a weight other than 0.

    width : float
        Standard deviation of the Gaussian kernel.

    Returns
    -------
    weights : ndarray of shape (..., n_anchors)
        Rows sum to 1; NaN where a row holds NaN or infinity.
    """
    distances = squared_distances(rows, anchors)
    wrong = ~np.isfinite(distances).all(axis=-1)
    nearest = np.argpartition(distances, n_nearest - 1, axis=-1)[..., :n_nearest]
    near = np.take_along_axis(distances, nearest, axis=-1)
    # Measured from the nearest one, because far from all anchors every weight would round to 0.
    kernel = np.exp((near.min(axis=-1, keepdims=True) - near) / (2 * width**2))
    kernel /= kernel.sum(axis=-1, keepdims=True)
    weights = np.zeros_like(distances)
    np.put_along_axis(weights, nearest, kernel.astype(weights.dtype), axis=-1)
    weights[wrong] = np.nan
    return weights
