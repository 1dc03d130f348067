"""Iterative quantization."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state, gen_batches

from .._sklearn import Interval
from ._base import LinearHasher
from ._blocks import block_of, map_in_order
from ._linear_algebra import procrustes_rotation, random_rotation, supported_components

_BLOCK_ROWS = 1024


class ITQ(LinearHasher):
    r"""Hash with principal components rotated to the nearest corners of the hypercube.

    Finds the orthogonal :math:`R` that brings the centred principal components :math:`V = (X - \mu) W` closest to
    their signs,

    .. math:: \min_{B, R} \lVert B - V R \rVert_F^2, \quad B \in \{-1, +1\}^{n \times K}, \quad R'R = I,

    by turns: :math:`B = \mathrm{sign}(VR)` for a fixed rotation, and for fixed codes the Procrustes rotation
    :math:`R = \hat{S} S'` from the singular value decomposition :math:`B'V = S \Omega \hat{S}'`. Neither step can
    increase the error.

    Parameters
    ----------
    n_bits : int, default=32
        Code length, at most the rank of the training data.

    max_iter : int, default=50
        Number of turns.

    random_state : int, RandomState instance or None, default=None
        Seed of the rotation that the first turn starts from.

    Attributes
    ----------
    components_ : ndarray of shape (n_bits, n_features)
        Principal directions by falling variance.

    rotation_ : ndarray of shape (n_bits, n_bits), dtype float64
        The learned rotation.

    quantization_errors_ : ndarray of shape (max_iter,)
        Error per training row, :math:`\lVert B - VR \rVert_F^2 / n`, at each turn; it never rises. Of the first chunk
        after `partial_fit`.

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
    PCAH : The same with a random rotation or none.

    Notes
    -----
    `partial_fit` updates mean and components exactly, from merged statistics. The rotation is a function of the rows
    themselves, which are gone: it is learned from the first chunk and then kept, turned along with the components so
    that the hash functions change as little as possible. So pass a first chunk of some thousand rows.

    References
    ----------
    Y. Gong and S. Lazebnik, "Iterative quantization: a Procrustean approach to learning binary codes", CVPR 2011.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import ITQ
    >>> X, _ = load_digits(return_X_y=True)
    >>> hasher = ITQ(n_bits=16, random_state=0).fit(X)
    >>> hasher.transform(X[:1]).shape
    (1, 2)
    """

    _parameter_constraints: dict = {
        **LinearHasher._parameter_constraints,
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, n_bits=32, *, max_iter=50, random_state=None):
        self.n_bits = n_bits
        self.max_iter = max_iter
        self.random_state = random_state

    def _solve(self, X, statistics, previous_weights):
        components, _ = supported_components(self, self.n_bits, statistics)
        if previous_weights is None:
            start = random_rotation(self.n_bits, check_random_state(self.random_state))
            projections = self._centred_projections(X, statistics.mean, components)
            rotation, self.quantization_errors_ = _learn_rotation(projections, start, self.max_iter)
            self.n_iter_ = self.max_iter
        else:
            rotation = procrustes_rotation(previous_weights.T @ components.T)
        self.components_ = components.astype(X.dtype)
        self.rotation_ = rotation
        return components.T @ rotation

    def _centred_projections(self, X, mean, components):
        """Compute V in the dtype of X; blocks keep the temporaries small."""
        offsets = (mean @ components.T).astype(X.dtype)
        weights = np.ascontiguousarray(components.T.astype(X.dtype))
        projections = np.empty((X.shape[0], len(components)), dtype=X.dtype)

        def fill(rows):
            projections[rows] = block_of(X, rows) @ weights - offsets

        for _ in map_in_order(fill, gen_batches(X.shape[0], _BLOCK_ROWS)):
            pass
        return projections


def _learn_rotation(projections, rotation, n_turns):
    """Take turns between codes and rotation, and return the last rotation and the error of each turn."""
    n_samples, n_bits = projections.shape
    squared_norm = np.sum(projections**2, dtype=np.float64)
    errors = np.empty(n_turns)
    for turn in range(n_turns):
        cross_product, fit = _signs_times_projections(projections, rotation.astype(projections.dtype))
        rotation = procrustes_rotation(cross_product)
        # After the Procrustes step trace(R B'V) is the sum of singular values; before it, `fit` = sum |V R|.
        errors[turn] = (n_samples * n_bits + squared_norm - 2 * fit) / n_samples
    return rotation, errors


def _signs_times_projections(projections, rotation):
    """Compute ``B'V`` and ``trace(R B'V)`` for ``B = sign(V R)`` without storing B."""

    def of_block(rows):
        block = projections[rows]
        rotated = block @ rotation
        signs = np.where(rotated >= 0, rotated.dtype.type(1), rotated.dtype.type(-1))
        return signs.T @ block, np.abs(rotated).sum(dtype=np.float64)

    cross_product = np.zeros((projections.shape[1],) * 2)
    fit = 0.0
    for block_product, block_fit in map_in_order(of_block, gen_batches(len(projections), _BLOCK_ROWS)):
        cross_product += block_product
        fit += block_fit
    return cross_product, fit
