"""Isotropic hashing."""

from numbers import Integral

import numpy as np
from scipy import linalg
from sklearn.utils import check_random_state

from .._sklearn import Interval
from ._base import LinearHasher
from ._blocks import float_dtype, single_threaded_blas
from ._linear_algebra import procrustes_rotation, random_rotation, supported_components

# Standard deviation of the variances over their mean at which they count as equal.
_EQUAL = 1e-6


class IsotropicHash(LinearHasher):
    r"""Hash with principal components rotated so that all bits have the same variance.

    With the variances :math:`\Lambda = \mathrm{diag}(\lambda_1, \ldots, \lambda_K)` of the principal components, the
    covariance matrix of rotated components is :math:`R' \Lambda R`. Finds an orthogonal :math:`R` that gives it a
    constant diagonal :math:`a = \sum_i \lambda_i / K`, by lift and projection,

    .. math:: \min_{T, Z} \lVert T - Z \rVert_F, \quad T \in \{T : T_{ii} = a\}, \quad
              Z \in \{R' \Lambda R : R'R = I\}.

    The matrix :math:`T` nearest to :math:`Z` has its diagonal overwritten by :math:`a`; the matrix :math:`Z` nearest
    to :math:`T` takes its eigenvectors, in the order of the eigenvalues. Neither step can increase the distance.

    Parameters
    ----------
    n_bits : int, default=32
        Code length, at most the rank of the training data.

    max_iter : int, default=100
        Largest number of turns; they end earlier when the variances agree to a millionth.

    random_state : int, RandomState instance or None, default=None
        Seed of the rotation that the first turn starts from.

    Attributes
    ----------
    components_ : ndarray of shape (n_bits, n_features)
        Principal directions by falling variance.

    explained_variance_ : ndarray of shape (n_bits,)
        Variance of the training features along each direction, before the rotation.

    rotation_ : ndarray of shape (n_bits, n_bits), dtype float64
        The rotation found.

    objectives_ : ndarray of shape (n_iter_,)
        Standard deviation of the variances of the bits over their mean,
        :math:`\lVert T - Z \rVert_F / (a \sqrt{K})`, after each turn; it never rises.

    n_iter_ : int
        Number of turns taken.

    mean_ : ndarray of shape (n_features,)
        Mean of the training features.

    statistics_ : RunningStatistics
        Number, mean and scatter matrix of the rows seen, what `partial_fit` continues from.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    ITQ : Looks for the rotation with the smallest quantization error.
    PCAH : The same with a random rotation or none.

    Notes
    -----
    Only the covariance matrix is needed, so `partial_fit` is exact for mean, components and variances. Its rotation
    starts from the one before, turned along with the components, so that the hash functions change little.

    The paper has a second solver, gradient flow, for the same equation. A solution always exists (Schur and Horn) and
    lift and projection reaches it, so the second one is left out. It takes some ten turns on features of digits or of
    networks, and up to a thousand for 128 bits whose variances fall as :math:`1 / i^2`; `objectives_` tells.

    Many rotations equalise the variances: which is found depends on the seed. Eigenvectors are given the signs of the
    turn before, of which the paper says nothing.

    References
    ----------
    W. Kong and W.-J. Li, "Isotropic hashing", NIPS 2012.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import IsotropicHash
    >>> X, _ = load_digits(return_X_y=True)
    >>> hasher = IsotropicHash(n_bits=16, random_state=0).fit(X)
    >>> variances = hasher.project(X).var(axis=0)
    >>> bool(variances.max() / variances.min() < 1.001)
    True
    """

    _parameter_constraints: dict = {
        **LinearHasher._parameter_constraints,
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, n_bits=32, *, max_iter=100, random_state=None):
        self.n_bits = n_bits
        self.max_iter = max_iter
        self.random_state = random_state

    def _solve(self, X, statistics, previous_weights):
        components, variances = supported_components(self, self.n_bits, statistics)
        if previous_weights is None:
            start = random_rotation(self.n_bits, check_random_state(self.random_state))
        else:
            start = procrustes_rotation(previous_weights.T @ components.T)
        self._set_explained_variance(X, variances)
        self.rotation_, self.objectives_ = _equalize(variances, start, self.max_iter)
        self.n_iter_ = len(self.objectives_)
        self.components_ = components.astype(float_dtype(X))
        return components.T @ self.rotation_


def _equalize(variances, rotation, max_iter):
    """Lift and project until the diagonal of ``R' Lambda R`` is constant; return R and the error after each turn."""
    mean = variances.mean()
    covariance, errors = _rotated(variances, rotation), []
    for _ in range(max_iter):
        np.fill_diagonal(covariance, mean)
        with single_threaded_blas():
            _, vectors = linalg.eigh(covariance)
        # Eigenvalues rise and variances fall.
        lifted = vectors[:, ::-1].T
        rotation = lifted * np.where((lifted * rotation).sum(axis=1) < 0, -1.0, 1.0)[:, None]
        covariance = _rotated(variances, rotation)
        errors.append(np.std(np.diag(covariance)) / mean)
        if errors[-1] <= _EQUAL:
            break
    return rotation, np.array(errors)


def _rotated(variances, rotation):
    """Compute ``R' Lambda R``."""
    with single_threaded_blas():
        return (rotation.T * variances) @ rotation
