"""Principal components and rotations: the linear algebra that hashers share."""

import numpy as np
from scipy import linalg

from ._blocks import single_threaded_blas


def principal_components(statistics, n_components):
    """Compute the leading principal components from a scatter matrix.

    Parameters
    ----------
    statistics : RunningStatistics
        With a scatter matrix.

    n_components : int
        How many, at most the number of features.

    Returns
    -------
    components : ndarray of shape (n_components, n_features)
        Orthonormal rows by falling variance; the entry of largest magnitude of each row is positive.

    variances : ndarray of shape (n_components,)
        Variances along them, with the divisor ``n_samples - 1``; zero where it is not above rounding errors.
    """
    n_features = len(statistics.mean)
    with single_threaded_blas():
        variances, vectors = linalg.eigh(
            statistics.scatter / (statistics.n_samples - 1),
            subset_by_index=[n_features - n_components, n_features - 1],
        )
    components, variances = with_fixed_signs(vectors[:, ::-1].T), variances[::-1].copy()
    variances[variances <= variances[0] * rounding(statistics)] = 0
    return components, variances


def with_fixed_signs(components):
    """Turn directions so that the entry of largest magnitude of each is positive.

    Parameters
    ----------
    components : ndarray of shape (n_components, n_features)
        Directions, none of them zero.

    Returns
    -------
    components : ndarray of shape (n_components, n_features)
        A C-contiguous copy.
    """
    largest = np.abs(components).argmax(axis=1)
    return np.ascontiguousarray(components * np.sign(components[np.arange(len(components)), largest])[:, None])


def supported_components(estimator, n_bits, statistics, decompose=principal_components):
    """Compute principal components, refusing more than there are directions in which the training data vary.

    Parameters
    ----------
    estimator : estimator
        Named in the error.

    n_bits : int
        Number of principal components that are needed.

    statistics : RunningStatistics or FrequentDirections
        With a scatter matrix, or what `decompose` takes.

    decompose : callable, default=principal_components
        Computes the components from the statistics.

    Returns
    -------
    components : ndarray of shape (n_bits, n_features)
        As from `principal_components`.

    variances : ndarray of shape (n_bits,)
        Variances along them, all positive.

    Raises
    ------
    ValueError
        If `n_bits` exceeds the number of features, of samples less one, or the rank of the scatter matrix.
    """
    name, n_samples, n_features = type(estimator).__name__, statistics.n_samples, len(statistics.mean)
    if n_bits > n_features:
        raise ValueError(
            f"{name}: n_bits={n_bits} must be <= n_features={n_features}; use fewer bits or LSH, which has no limit."
        )
    if n_bits >= n_samples:
        raise ValueError(f"{name}: n_bits={n_bits} must be < n_samples={n_samples}; pass more rows or use fewer bits.")
    components, variances = decompose(statistics, n_bits)
    if not variances.all():
        raise ValueError(
            f"{name}: n_bits={n_bits} must be <= {np.count_nonzero(variances)}, the rank of the training data "
            f"(n_samples={n_samples}, n_features={n_features}): constant or duplicate features give no bits; "
            "use fewer bits or LSH, which has no limit."
        )
    return components, variances


def rounding(statistics):
    """Return the relative size of the rounding errors of a scatter matrix.

    Parameters
    ----------
    statistics : RunningStatistics or FrequentDirections
        Of the rows.

    Returns
    -------
    error : float
        Share of the largest variance.
    """
    return max(statistics.n_samples, len(statistics.mean)) * np.finfo(np.float64).eps


def random_rotation(n, random_state):
    """Draw an orthogonal matrix uniformly (Haar measure).

    Parameters
    ----------
    n : int
        Number of rows and columns.

    random_state : numpy.random.RandomState
        Source of the draw.

    Returns
    -------
    rotation : ndarray of shape (n, n)
        Orthogonal matrix.
    """
    return orthonormal_rows(random_state.standard_normal((n, n)))


def orthonormal_rows(gaussian):
    """Orthonormalise the rows of a Gaussian matrix, at most as many as there are columns.

    Parameters
    ----------
    gaussian : ndarray of shape (n_rows, n_columns)
        Gaussian rows, ``n_rows <= n_columns``.

    Returns
    -------
    rows : ndarray of shape (n_rows, n_columns)
        Their Gram-Schmidt orthonormalisation.
    """
    with single_threaded_blas():
        q, r = linalg.qr(gaussian.T, mode="economic")
    # The signs make the result Gram-Schmidt's, and so uniform; LAPACK's own choice of signs is not.
    return np.ascontiguousarray((q * np.sign(np.diag(r))).T)


def procrustes_rotation(cross_product):
    """Find the orthogonal R that maximises ``trace(R cross_product)``.

    Parameters
    ----------
    cross_product : ndarray of shape (n, n)
        ``B' V`` for the problem ``min ||B - V R||``.

    Returns
    -------
    rotation : ndarray of shape (n, n)
        ``V_hat U'`` from the singular value decomposition ``cross_product = U S V_hat'``.

    References
    ----------
    P. H. Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 31, 1966.
    """
    # On matrices this small, starting BLAS threads costs more than they save.
    with single_threaded_blas():
        u, _, v_transposed = linalg.svd(cross_product)
        return v_transposed.T @ u.T


def generalized_eigenvectors(A, B, n_vectors):
    """Solve ``A w = lambda B w`` for symmetric A and positive definite B.

    Parameters
    ----------
    A : ndarray of shape (n, n)
        Symmetric.

    B : ndarray of shape (n, n)
        Symmetric and positive definite.

    n_vectors : int
        How many of the leading solutions.

    Returns
    -------
    values : ndarray of shape (n_vectors,)
        Eigenvalues, falling.

    vectors : ndarray of shape (n, n_vectors)
        Columns with ``vectors' B vectors = I``; the entry of largest magnitude of each is positive.

    Raises
    ------
    numpy.linalg.LinAlgError
        If B is not positive definite; add a ridge.
    """
    n = len(A)
    with single_threaded_blas():
        values, vectors = linalg.eigh(A, B, subset_by_index=[n - n_vectors, n - 1])
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = np.abs(vectors).argmax(axis=0)
    return values.copy(), vectors * np.sign(vectors[largest, np.arange(n_vectors)])
