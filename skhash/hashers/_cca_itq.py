"""Supervised iterative quantization: canonical correlation analysis, then ITQ's rotation."""

from functools import reduce
from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state, gen_batches

from .._sklearn import Interval
from ._base import LinearMap, SupervisedHasher
from ._blocks import block_of, float_dtype, map_in_order, rows_at
from ._itq import centred_projections, learn_rotation
from ._linear_algebra import discriminant_directions, random_rotation, symmetric_root_of_inverse
from ._statistics import RunningStatistics, check_finite_statistics

# Rows whose scatter matrix is computed at once.
_BLOCK_ROWS = 4096


class CCAITQ(LinearMap, SupervisedHasher):
    r"""Hash with the directions that correlate with the labels, rotated to the nearest corners of the hypercube.

    With the covariance matrices of features, of label indicators and of both, canonical correlation analysis takes the
    directions

    .. math:: C_{xy} C_{yy}^{+} C_{yx} w_k = \lambda_k^2 (C_{xx} + \rho I) w_k, \qquad
              w_k' (C_{xx} + \rho I) w_k = 1.

    Each is scaled by its correlation, :math:`V = (X - \mu) W \,\mathrm{diag}(\lambda)`, and as in `ITQ` a matrix R with
    orthonormal rows brings V closest to its signs, :math:`\min_{B, R} \lVert B - V R \rVert_F^2`.

    Parameters
    ----------
    n_bits : int, default=32
        Code length :math:`K`, with no upper limit.

    ridge : float, default=1.0
        :math:`\rho` in units of the mean variance of a feature. A large one keeps more of what tells apart classes that
        were not in training.

    max_iter : int, default=50
        Number of turns between codes and rotation.

    random_state : int, RandomState instance or None, default=None
        Seed of the rotation that the first turn starts from.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        The directions, each scaled by its correlation, by falling correlation; at most `n_bits`, and less than the
        number of classes where each row has one.

    correlations_ : ndarray of shape (n_components,), dtype float64
        :math:`\lambda_k`, between 0 and 1: the ridge makes them smaller than the correlations of the training rows.

    rotation_ : ndarray of shape (n_components, n_bits), dtype float64
        R.

    quantization_errors_ : ndarray of shape (max_iter,)
        Error per training row, :math:`\lVert B - VR \rVert_F^2 / n`, at each turn; it never rises.

    n_iter_ : int
        Number of turns taken.

    classes_ : ndarray of shape (n_classes,)
        Classes of the training rows.

    mean_ : ndarray of shape (n_features,)
        Mean of the labelled training features.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    DiscriminantITQ : The same family with a target code for each class.
    ITQ : Without labels.

    Notes
    -----
    Where each row has one of C classes, there are C - 1 directions of any correlation. For longer codes, each bit mixes
    all of them: the scale by correlations leaves nothing of the others, and R spreads C - 1 directions over K bits.
    Codes grow better with their length all the same, because more bits quantise the same few directions more finely.

    The paper adds 0.0001 to the diagonals of both covariance matrices. Here the ridge is in units of the data and far
    larger, and the labels have none: of the inverse of their covariance matrix, the pseudo-inverse is taken. Rows may
    have several labels. Rows without a label are left out.

    The rotation is learned from V as a whole. In a fit it takes most of the memory beside the features:
    ``4 * min(n_bits, n_classes - 1)`` bytes a row for float32 and ``n_bits / 8`` more for the codes.

    References
    ----------
    Y. Gong and S. Lazebnik, "Iterative quantization: a Procrustean approach to learning binary codes", CVPR 2011.

    H. D. Vinod, "Canonical ridge and econometrics of joint production", Journal of Econometrics 4, 1976.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import CCAITQ
    >>> X, y = load_digits(return_X_y=True)
    >>> hasher = CCAITQ(n_bits=16, random_state=0).fit(X, y)
    >>> hasher.components_.shape
    (9, 64)
    """

    _parameter_constraints: dict = {
        **SupervisedHasher._parameter_constraints,
        "ridge": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, n_bits=32, *, ridge=1.0, max_iter=50, random_state=None):
        self.n_bits = n_bits
        self.ridge = ridge
        self.max_iter = max_iter
        self.random_state = random_state

    def _fit_bytes(self, n_bits, X):
        # The random rotation, and its orthonormal rows.
        return 2 * 8 * n_bits**2

    def _fit_labelled(self, X, targets):
        rows = targets.labelled
        statistics = _joint_statistics(X, rows, targets)
        check_finite_statistics(self, statistics)
        n_features, scatter = X.shape[1], statistics.scatter
        mean, scatter_x = statistics.mean[:n_features], scatter[:n_features, :n_features]
        between = scatter[:n_features, n_features:] @ symmetric_root_of_inverse(scatter[n_features:, n_features:])
        if not between.any():
            raise ValueError(
                f"CCAITQ: the {len(rows)} labelled rows differ in features or in labels alone, so nothing correlates; "
                "pass rows of at least two classes that differ."
            )
        directions, correlations = discriminant_directions(self, scatter_x, self.ridge, between)
        self.correlations_ = correlations[: self.n_bits]
        # Of the covariance matrix, which is the scatter matrix over n.
        components = (directions[:, : self.n_bits] * (self.correlations_ * np.sqrt(len(rows)))).T
        # Of all rows, whose projections are few numbers: the labelled ones are not copied.
        projections = rows_at(centred_projections(self, X, mean, components), rows)
        start = random_rotation(self.n_bits, check_random_state(self.random_state))[: len(components)]
        self.rotation_, self.quantization_errors_ = learn_rotation(projections, start, self.max_iter)
        self.n_iter_ = self.max_iter
        self.components_ = components.astype(float_dtype(X))
        self._set_linear_map(X, components.T @ self.rotation_, mean)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _joint_statistics(X, rows, targets):
    """Accumulate number, mean and scatter matrix of features and indicators side by side."""

    def of_block(batch):
        block, labels = block_of(X, rows[batch]), targets.indicators_of(rows[batch])
        joint = sparse.hstack([block, labels], format="csr") if sparse.issparse(block) else np.hstack([block, labels])
        return RunningStatistics.from_rows(joint, with_scatter=True)

    blocks = map_in_order(of_block, gen_batches(len(rows), _BLOCK_ROWS), n_pending=2)
    return reduce(RunningStatistics.merge, blocks)
