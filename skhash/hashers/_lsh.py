"""Locality-sensitive hashing by random hyperplanes."""

import numpy as np
from sklearn.utils import check_random_state

from ._base import LinearHasher
from ._blocks import float_dtype
from ._linear_algebra import orthonormal_rows


class LSH(LinearHasher):
    r"""Hash with random hyperplanes through the mean of the data.

    Bit :math:`k` is the side of a random hyperplane on which a point lies, and two points differ in a bit with a
    probability proportional to the angle between them, seen from the mean:

    .. math:: b_k(x) = [w_k \cdot (x - \mu) \ge 0], \quad w_k \sim N(0, I), \qquad
              P(b_k(x) \ne b_k(y)) = \frac{1}{\pi} \angle(x - \mu, y - \mu)

    Parameters
    ----------
    n_bits : int, default=32
        Code length, with no upper limit.

    orthogonal : bool, default=False
        Whether to orthogonalise the hyperplanes in blocks of at most ``n_features`` (Super-Bit), which estimates
        angles with a lower variance.

    random_state : int, RandomState instance or None, default=None
        Seed of the hyperplanes.

    Attributes
    ----------
    components_ : ndarray of shape (n_bits, n_features)
        Normals of the hyperplanes.

    mean_ : ndarray of shape (n_features,)
        Mean of the training features.

    statistics_ : RunningStatistics
        Number and mean of the rows seen, what `partial_fit` continues from.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    PCAH : Directions of largest variance, optionally rotated at random.

    References
    ----------
    M. S. Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002.

    J. Ji, J. Li, S. Yan, B. Zhang and Q. Tian, "Super-Bit locality-sensitive hashing", NIPS 2012.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import LSH
    >>> X, _ = load_digits(return_X_y=True)
    >>> LSH(n_bits=16, random_state=0).fit_transform(X).shape
    (1797, 2)
    """

    _parameter_constraints: dict = {
        **LinearHasher._parameter_constraints,
        "orthogonal": ["boolean"],
        "random_state": ["random_state"],
    }
    _with_scatter = False

    def __init__(self, n_bits=32, *, orthogonal=False, random_state=None):
        self.n_bits = n_bits
        self.orthogonal = orthogonal
        self.random_state = random_state

    def _fit_bytes(self, n_bits, X):
        # The normals, and their transpose.
        return 2 * 8 * n_bits * X.shape[1]

    def _solve(self, X, statistics, previous_weights):
        if previous_weights is not None:
            return previous_weights
        n_features = X.shape[1]
        normals = check_random_state(self.random_state).standard_normal((self.n_bits, n_features))
        if self.orthogonal:
            blocks = [normals[start : start + n_features] for start in range(0, self.n_bits, n_features)]
            normals = np.concatenate([orthonormal_rows(block) for block in blocks])
        self.components_ = normals.astype(float_dtype(X))
        return np.ascontiguousarray(normals.T)
