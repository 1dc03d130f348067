"""Hashing by the signs of principal components."""

import numpy as np
from sklearn.utils import check_random_state

from .._sklearn import StrOptions
from ._base import PrincipalComponentHasher
from ._blocks import float_dtype
from ._linear_algebra import random_rotation, supported_components


class PCAH(PrincipalComponentHasher):
    r"""Hash with the signs of principal components.

    .. math:: b(x) = [R' W' (x - \mu) \ge 0]

    with the leading principal directions as columns of :math:`W`. Without a rotation :math:`R`, the first bits carry
    most of the variance and the last ones hardly any. A random rotation spreads the variance over all bits, and is
    the baseline that a learned method has to beat: it needs no training beyond the covariance matrix.

    Parameters
    ----------
    n_bits : int, default=32
        Code length, at most the rank of the training data.

    rotation : {"random"} or None, default=None
        Whether to rotate the components by a random orthogonal matrix.

    keep_hash_functions : bool, default=False
        Whether `partial_fit` leaves the hash functions as they are, so that stored codes stay valid, and only goes on
        with the statistics. It may be switched on and off at any time; the first call after it was switched off moves
        the hash functions to where all rows seen put them, the kept time included.

    random_state : int, RandomState instance or None, default=None
        Seed of the rotation; without a rotation nothing is random.

    Attributes
    ----------
    components_ : ndarray of shape (n_bits, n_features)
        Principal directions by falling variance.

    explained_variance_ : ndarray of shape (n_bits,)
        Variance of the training features along each direction.

    rotation_ : ndarray of shape (n_bits, n_bits), dtype float64
        Applied to the principal components; the identity without a rotation.

    mean_ : ndarray of shape (n_features,)
        Mean of the training features; of those before the hash functions were kept.

    statistics_ : RunningStatistics
        Number, mean and scatter matrix of all rows seen, what `partial_fit` continues from.

    kept_variance_ratio_ : float
        Variance of all rows seen along `components_`, divided by the variance along as many principal components of
        all rows seen: 1 where hashing the database again has nothing to gain from better directions. It says nothing
        of a mean that has moved: compare `mean_` with ``statistics_.mean``. Computed when it is read.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    ITQ : Learns the rotation.
    LSH : Directions that do not depend on the data.

    References
    ----------
    B. Wang, Z. Li, M. Li and W.-Y. Ma, "Large-scale duplicate detection for web image search", ICME 2006.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import PCAH
    >>> X, _ = load_digits(return_X_y=True)
    >>> hasher = PCAH(n_bits=16, rotation="random", random_state=0).fit(X)
    >>> hasher.transform(X[:1]).shape
    (1, 2)
    """

    _parameter_constraints: dict = {
        **PrincipalComponentHasher._parameter_constraints,
        "rotation": [StrOptions({"random"}), None],
        "random_state": ["random_state"],
    }

    def __init__(self, n_bits=32, *, rotation=None, keep_hash_functions=False, random_state=None):
        self.n_bits = n_bits
        self.rotation = rotation
        self.keep_hash_functions = keep_hash_functions
        self.random_state = random_state

    def _solve(self, X, statistics, previous_weights):
        components, variances = supported_components(self, self.n_bits, statistics)
        # A rotation drawn anew with every chunk would change every bit.
        rotation = self._draw_rotation() if previous_weights is None else self.rotation_
        self._set_explained_variance(X, variances)
        self.components_ = components.astype(float_dtype(X))
        self.rotation_ = rotation
        return components.T @ rotation

    def _draw_rotation(self):
        if self.rotation is None:
            return np.eye(self.n_bits)
        return random_rotation(self.n_bits, check_random_state(self.random_state))
