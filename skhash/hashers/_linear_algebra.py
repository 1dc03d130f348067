"""Principal components, rotations and regressions: the linear algebra that hashers share."""

import numpy as np
from scipy import linalg, sparse
from sklearn.utils import gen_batches

from ._blocks import block_of, single_threaded_blas
from ._statistics import RunningStatistics, check_finite_statistics

# Rows of one product of a regression.
_REGRESSION_ROWS = 4096

# Singular values below this part of the largest are rounding errors.
_NEGLIGIBLE = 1e-9


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
    """Find the R with orthonormal rows that maximises ``trace(R cross_product)``.

    Parameters
    ----------
    cross_product : ndarray of shape (n_outputs, n)
        ``B' V`` for the problem ``min ||B - V R||``, with at least as many rows as columns.

    Returns
    -------
    rotation : ndarray of shape (n, n_outputs)
        ``V_hat U'`` from the singular value decomposition ``cross_product = U S V_hat'``.

    References
    ----------
    P. H. Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 31, 1966.
    """
    # On matrices this small, starting BLAS threads costs more than they save.
    with single_threaded_blas():
        u, _, v_transposed = linalg.svd(cross_product, full_matrices=False)
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


class RidgeRegression:
    r"""Regress several targets on the same rows, with an intercept that is not shrunk.

    Minimises :math:`\lVert T - (X - \mu) P - 1 t' \rVert^2 + \rho \lVert P \rVert^2`.

    Parameters
    ----------
    estimator : estimator
        Named in the error for features that overflow.

    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
        Rows.

    ridge : float
        In units of the mean of the diagonal of the scatter matrix of the rows, so that their scale does not matter.

    Attributes
    ----------
    mean : ndarray of shape (n_features,), dtype float64
        Mean of the rows.

    ridge : float
        :math:`\rho`, positive: of constant rows it is 1.
    """

    def __init__(self, estimator, X, ridge):
        statistics = RunningStatistics.from_rows(X, with_scatter=True, name=type(estimator).__name__)
        check_finite_statistics(estimator, statistics)
        n_features = len(statistics.mean)
        self.mean = statistics.mean
        self.ridge = ridge * np.trace(statistics.scatter) / n_features or 1.0
        self._rows = X
        with single_threaded_blas():
            self._factor = linalg.cho_factor(statistics.scatter + self.ridge * np.eye(n_features))

    def fit(self, targets):
        """Solve for the weights.

        Parameters
        ----------
        targets : ndarray of shape (n_samples, n_targets)
            T.

        Returns
        -------
        weights : ndarray of shape (n_features, n_targets), dtype float64
            P.

        offsets : ndarray of shape (n_targets,), dtype float64
            Predictions are ``X @ weights - offsets``.
        """
        target_mean = targets.mean(axis=0, dtype=np.float64)
        cross_product = np.zeros((len(self.mean), targets.shape[1]))
        with single_threaded_blas():
            for rows in gen_batches(len(targets), _REGRESSION_ROWS):
                centred = targets[rows] - target_mean
                block = block_of(self._rows, rows).astype(np.float64)
                # The centred targets sum to 0 over all rows: the mean of the rows drops out, but would cost digits.
                if not sparse.issparse(block):
                    block = block - self.mean
                cross_product += block.T @ centred
            weights = linalg.cho_solve(self._factor, cross_product)
            return weights, self.mean @ weights - target_mean

    def predict(self, weights, offsets):
        """Predict the targets of the rows.

        Parameters
        ----------
        weights : ndarray of shape (n_features, n_targets)
            As from `fit`.

        offsets : ndarray of shape (n_targets,)
            As from `fit`.

        Returns
        -------
        predictions : ndarray of shape (n_samples, n_targets), dtype float64
            ``X @ weights - offsets``.
        """
        predictions = np.empty((self._rows.shape[0], len(offsets)))
        with single_threaded_blas():
            for rows in gen_batches(len(predictions), _REGRESSION_ROWS):
                predictions[rows] = block_of(self._rows, rows).astype(np.float64) @ weights - offsets
        return predictions


def discriminant_directions(estimator, scatter, ridge, between):
    r"""Find the directions that separate best: the solutions of ``A A' w = s^2 (S + r I) w`` with ``s > 0``.

    Takes a factorisation and as many triangular solves as A has columns, instead of an eigendecomposition.

    Parameters
    ----------
    estimator : estimator
        Named in the error.

    scatter : ndarray of shape (n_features, n_features)
        S.

    ridge : float
        r, in units of the mean diagonal entry of S.

    between : ndarray of shape (n_features, n_columns)
        A.

    Returns
    -------
    directions : ndarray of shape (n_features, rank)
        Columns w with ``w'(S + r I)w = 1``, at most as many as A has; the entry of largest magnitude is positive.

    strengths : ndarray of shape (rank,)
        s, falling, without those that are rounding errors.

    Raises
    ------
    ValueError
        If ``S + r I`` has no inverse.
    """
    regularized = scatter.copy()
    regularized.flat[:: len(scatter) + 1] += ridge * np.trace(scatter) / len(scatter)
    with single_threaded_blas():
        try:
            lower = linalg.cholesky(regularized, lower=True, overwrite_a=True, check_finite=False)
        except linalg.LinAlgError as error:
            raise ValueError(
                f"{type(estimator).__name__}: ridge={ridge:.3g} leaves the covariance matrix of the training data "
                "without an inverse; raise it, or drop duplicate features and pass rows that differ."
            ) from error
        whitened = linalg.solve_triangular(lower, between, lower=True, check_finite=False)
        u, strengths, _ = linalg.svd(whitened, full_matrices=False)
        u = u[:, strengths > _NEGLIGIBLE * strengths[0]]
        directions = linalg.solve_triangular(lower, u, lower=True, trans="T", check_finite=False)
    largest = np.abs(directions).argmax(axis=0)
    return directions * np.sign(directions[largest, np.arange(u.shape[1])]), strengths[: u.shape[1]]


def symmetric_root_of_inverse(matrix):
    """Compute the root of the pseudo-inverse of a symmetric matrix without negative eigenvalues.

    Parameters
    ----------
    matrix : ndarray of shape (n, n)
        Symmetric; eigenvalues that are rounding errors count as zero.

    Returns
    -------
    root : ndarray of shape (n, n)
        The symmetric R with ``R R = pinv(matrix)``.
    """
    with single_threaded_blas():
        values, vectors = linalg.eigh(matrix)
        kept = values > _NEGLIGIBLE * values[-1]
        return vectors[:, kept] / np.sqrt(values[kept]) @ vectors[:, kept].T
