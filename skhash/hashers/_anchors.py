"""Anchors, and what rows look like from them: Gaussian kernels, and weights on the nearest ones."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils import check_random_state

from ._blocks import block_of, float_dtype, map_in_order, single_threaded_blas, stacks_of

# Rows among which k-means looks for anchors, for each anchor.
_ROWS_PER_ANCHOR = 50

# Rows whose distances to all anchors the width of a kernel is taken from.
_ROWS_FOR_WIDTH = 2000

# Centres of clusters are at one place where no feature differs by more than this part of the largest one.
_SAME_PLACE = 1e-9

# Edges of a graph, and entries of its eigenvectors, are at most 1. Below this they are rounding errors, or would give
# eigenvalues so near to each other that rounding errors decide between their eigenvectors.
_ROUNDING = 1e-10


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
        Dense; rows of `float_dtype(X)`, centres of float64.
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
        # One row that rounding sends to another cluster moves every centre in the end.
        return kmeans.fit(sample.astype(np.float64, copy=False)).cluster_centers_


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


def neighbour_width(X, anchors, n_nearest, random_state):
    """Take the width of a kernel on nearest anchors from how far the last of them is on average.

    Parameters
    ----------
    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
        Rows.

    anchors : ndarray of shape (n_anchors, n_features)
        Anchors.

    n_nearest : int
        Anchors that a row is described by.

    random_state : int, RandomState instance or None
        Seed of the choice of rows.

    Returns
    -------
    width : float
        The sigma of ``exp(-d^2 / (2 sigma^2))`` that gives the `n_nearest`-th anchor of a row, at the mean distance,
        the kernel ``exp(-1)``; 1 where these distances are 0.
    """
    rows = np.sort(check_random_state(random_state).permutation(X.shape[0])[:_ROWS_FOR_WIDTH])
    with single_threaded_blas():
        distances = euclidean_distances(block_of(X, rows).astype(np.float64, copy=False), anchors)
    width = float(np.partition(distances, n_nearest - 1, axis=1)[:, n_nearest - 1].mean() / np.sqrt(2))
    return width if width > 0 else 1.0


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


def check_finite_distances(estimator, X):
    """Refuse features so large that squared distances between rows overflow.

    Parameters
    ----------
    estimator : estimator
        Named in the error.

    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
        Finite rows.

    Raises
    ------
    ValueError
        If the squares of the largest feature could overflow in `float_dtype(X)`.
    """
    largest = max(float(X.max()), -float(X.min()))
    if largest > np.sqrt(np.finfo(float_dtype(X)).max / (4 * X.shape[1])):
        raise ValueError(
            f"{type(estimator).__name__}: features up to {largest:.3g} overflow in {float_dtype(X)}; scale them, for "
            "example with sklearn.preprocessing.StandardScaler."
        )


def at_different_places(centres):
    """Keep one of all centres that differ by rounding errors only, which would decide between them for every row.

    Parameters
    ----------
    centres : ndarray of shape (n_centres, n_features)
        Centres, dtype float64.

    Returns
    -------
    different : ndarray of shape (n_different, n_features)
        In an order that rounding errors do not change.
    """
    largest = np.abs(centres).max()
    rounded = np.round(centres / largest / _SAME_PLACE) if largest > 0 else centres
    return centres[np.unique(rounded, axis=0, return_index=True)[1]]


@dataclass(frozen=True)
class AnchorMap:
    """Map of rows to kernel weights on their nearest anchors, where centres of clusters of rows are the anchors.

    What is learned from rows is learned in double precision, so that the same numbers in single precision and in sparse
    matrices give the same map.

    Attributes
    ----------
    anchors : ndarray of shape (n_anchors, n_features)
        Different anchors, dtype float64.

    n_nearest : int
        Anchors with a weight other than 0, for each row.

    width : float
        Standard deviation of the Gaussian kernel.
    """

    anchors: NDArray
    n_nearest: int
    width: float

    @classmethod
    def from_rows(cls, estimator, X, n_anchors, n_nearest, random) -> "AnchorMap":
        """Find the anchors and the width of the kernel.

        Parameters
        ----------
        estimator : estimator
            Named in errors.

        X : {ndarray, CSR matrix} of shape (n_samples, n_features)
            Finite rows.

        n_anchors : int
            Number of anchors; at most the number of rows is used.

        n_nearest : int
            Anchors that a row is described by; at most the number of different ones is used.

        random : numpy.random.RandomState
            Source of the draws.

        Returns
        -------
        anchor_map : AnchorMap
            The map.
        """
        check_finite_distances(estimator, X)
        centres = choose_anchors(X, min(n_anchors, X.shape[0]), random, method="kmeans")
        anchors = at_different_places(centres)
        n_nearest = min(n_nearest, len(anchors))
        return cls(anchors, n_nearest, neighbour_width(X, anchors, n_nearest, random))

    def describe(self, rows):
        """Compute the weights of rows, as `nearest_anchor_weights` does."""
        return nearest_anchor_weights(rows, self.anchors, self.n_nearest, self.width)

    def sum_over_rows(self, X, function):
        """Add up what a function gives for the weights of one block of rows after another.

        Parameters
        ----------
        X : {ndarray, CSR matrix} of shape (n_samples, n_features)
            Rows.

        function : callable
            Maps weights of shape (n_rows, n_anchors), dtype float64, to a tuple of arrays.

        Returns
        -------
        sums : sequence of ndarray
            The same bits of the result for any number of threads.
        """

        def of_block(rows):
            return function(self.describe(block_of(X, rows).astype(np.float64, copy=False)))

        totals = None
        for parts in map_in_order(of_block, stacks_of(X.shape[0])):
            totals = parts if totals is None else [total + part for total, part in zip(totals, parts, strict=True)]
        return totals


def smoothest_functions(adjacency, places, n_functions):
    r"""Compute the eigenvectors of a normalised graph that change least along its edges, without the constant one.

    Eigenvectors are determined by the graph only where eigenvalues differ, and they never do in a graph that falls into
    parts: all functions that are constant on each part are equally smooth, with the eigenvalue 1. Of these, the ones
    are taken that vary most between places far from each other, which maximise
    :math:`-\sum_{ij} d_i d_j \lVert a_i - a_j \rVert f_i f_j` one after another, for degrees :math:`d` and places
    :math:`a`. A vanishing multiple of this sum, added to what the graph maximises, would choose the same. All others
    are functions on one part, and exactly 0 on the rest.

    Parameters
    ----------
    adjacency : ndarray of shape (n, n)
        Symmetric, not negative; nodes without edges have no part.

    places : ndarray of shape (n, n_features)
        Where the nodes are.

    n_functions : int
        How many; at most one less than there are nodes with edges are returned.

    Returns
    -------
    values : ndarray of shape (n_found,)
        Eigenvalues of ``D^-1/2 A D^-1/2``, falling; 1 separates parts that no edge joins.

    functions : ndarray of shape (n, n_found)
        ``D^-1/2 v`` for the eigenvectors v, of length 1 each. The entry of v of largest magnitude is positive.
    """
    degrees = adjacency.sum(axis=1)
    scales = np.divide(1, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
    normalised = adjacency * np.outer(scales, scales)
    _, part_of = connected_components(sparse.csr_matrix(normalised > _ROUNDING), directed=False)
    parts = [np.flatnonzero((part_of == part) & (degrees > 0)) for part in np.unique(part_of[degrees > 0])]
    values, vectors = [np.ones(len(parts) - 1)], [_functions_constant_on_parts(degrees, places, parts)]
    with single_threaded_blas():
        for nodes in parts:
            constant = np.sqrt(degrees[nodes] / degrees[nodes].sum())
            # The constant function is known, and moved from the eigenvalue 1 to the lower end.
            shifted = normalised[np.ix_(nodes, nodes)] - 3 * np.outer(constant, constant)
            values_of_part, vectors_of_part = linalg.eigh(shifted)
            values.append(np.minimum(values_of_part[:0:-1], 1))
            vectors.append(np.zeros((len(degrees), len(nodes) - 1)))
            vectors[-1][nodes] = vectors_of_part[:, :0:-1]
    values, vectors = np.concatenate(values), np.concatenate(vectors, axis=1)
    smoothest = np.argsort(-np.round(values / _ROUNDING), kind="stable")[:n_functions]
    values, vectors = values[smoothest], vectors[:, smoothest]
    magnitudes = np.abs(vectors)
    # The sign of what is 0 but for rounding errors would be a matter of chance, as would be that of two equal entries.
    vectors[magnitudes < _ROUNDING] = 0
    largest = (magnitudes >= (1 - _SAME_PLACE) * magnitudes.max(axis=0)).argmax(axis=0)
    return values, scales[:, None] * vectors * np.sign(vectors[largest, np.arange(len(smoothest))])


def _functions_constant_on_parts(degrees, places, parts):
    """Compute ``D^1/2 f`` for functions f on the parts of a graph, those that vary most between far places first."""
    if len(parts) == 1:
        return np.empty((len(degrees), 0))
    indicators = np.zeros((len(degrees), len(parts)))
    for part, nodes in enumerate(parts):
        indicators[nodes, part] = np.sqrt(degrees[nodes] / degrees[nodes].sum())
    weights = np.sqrt(degrees)[:, None] * indicators
    with single_threaded_blas():
        closeness = -weights.T @ euclidean_distances(places) @ weights
        # On functions of mean 0, negative distances are positive definite. The constant function goes to the lower end.
        constant = np.sqrt(degrees) @ indicators / np.sqrt(degrees.sum())
        centring = np.eye(len(parts)) - np.outer(constant, constant)
        centred = centring @ closeness @ centring
        _, vectors = linalg.eigh(centred - np.trace(centred) * np.outer(constant, constant))
    return indicators @ vectors[:, :0:-1]
