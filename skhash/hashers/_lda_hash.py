"""Linear discriminant hashing: directions and thresholds from pairs of rows."""

from numbers import Real

import numpy as np
from sklearn.utils import gen_batches

from .._sklearn import Interval
from ._base import LinearMap, SupervisedHasher
from ._blocks import SelectedRows, apply_to_rows, block_of, float_dtype, map_in_order
from ._linear_algebra import generalized_eigenvectors
from ._statistics import RunningStatistics, check_finite_statistics, check_weights

# Rows of one product.
_BLOCK_ROWS = 4096
# Eigenvalues below this part of the largest are rounding errors.
_NEGLIGIBLE = 1e-12


class LDAHash(LinearMap, SupervisedHasher):
    r"""Hash with directions along which rows of one class are close and others far, each with the best threshold.

    With the covariance matrices of the differences of positive pairs, which share a class, and of negative ones,

    .. math:: \Sigma_P = E[(x - x')(x - x')' \mid P], \qquad \Sigma_N = E[(x - x')(x - x')' \mid N],

    the directions are the K leading solutions of

    .. math:: \Sigma_N w = \lambda \left(\Sigma_P + \rho \frac{\mathrm{tr}\, \Sigma_P}{d} I\right) w,

    and the bit of each is :math:`\mathrm{sign}(w'x - t)` with the threshold that minimises the rates of false negatives
    and of false positives,

    .. math:: \mathrm{FN}(t) + \mathrm{FP}(t) = P(\mathrm{bits\ differ} \mid P) + P(\mathrm{bits\ agree} \mid N).

    Parameters
    ----------
    n_bits : int, default=32
        Code length :math:`K`, at most the number of features.

    shrinkage : float, default=1.0
        :math:`\rho`, in units of the mean variance of a feature over positive pairs.

    Attributes
    ----------
    components_ : ndarray of shape (n_bits, n_features)
        The directions w by falling :math:`\lambda`.

    eigenvalues_ : ndarray of shape (n_bits,), dtype float64
        :math:`\lambda`.

    thresholds_ : ndarray of shape (n_bits,), dtype float64
        Threshold t of each bit, for projections of rows less `mean_`.

    errors_ : ndarray of shape (n_bits,), dtype float64
        FN + FP of each bit over the pairs of training rows; a bit that is useless by itself has 1.

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
    DiscriminantITQ : Takes only the directions that tell classes apart, and rotates them.

    Notes
    -----
    The paper draws pairs. Here the expectations are over all pairs of labelled rows, in closed form: with the scatter
    :math:`S_c` of the :math:`n_c` rows of a class, the differences of its pairs sum to :math:`n_c S_c`, and thresholds
    are found in the order of the projections, each row moving one class by one row. If rows have several labels, a pair
    is positive with the probability that a label drawn from each row is the same. Rows without a label are left out.

    At most C - 1 of the directions tell C classes apart; the others are those along which all rows differ most in
    relation to the pairs of a class, and make long codes worse. Bits are not rotated, so the first count most.

    The paper has no shrinkage. Without it the smallest variances of few rows, which are mostly chance, decide.

    References
    ----------
    C. Strecha, A. M. Bronstein, M. M. Bronstein and P. Fua, "LDAHash: improved matching with smaller descriptors",
    IEEE Transactions on Pattern Analysis and Machine Intelligence 34, 2012.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import LDAHash
    >>> X, y = load_digits(return_X_y=True)
    >>> hasher = LDAHash(n_bits=8).fit(X, y)
    >>> hasher.transform(X[:1]).shape
    (1, 1)
    """

    _parameter_constraints: dict = {
        **SupervisedHasher._parameter_constraints,
        "shrinkage": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, n_bits=32, *, shrinkage=1.0):
        self.n_bits = n_bits
        self.shrinkage = shrinkage

    def _fit_labelled(self, X, targets):
        n_features = X.shape[1]
        if self.n_bits > n_features:
            raise ValueError(
                f"LDAHash: n_bits={self.n_bits} must be <= n_features={n_features}; use fewer bits or DiscriminantITQ, "
                "which has no limit."
            )
        labelled = targets.labelled
        X = X if len(labelled) == X.shape[0] else SelectedRows(X, labelled)
        shares = targets.select(labelled).shares()
        n_positive, n_negative = _count_pairs(shares)
        if n_positive < 1e-9 or n_negative < 1e-9:
            kind, fix = ("the same class", "several") if n_positive < 1e-9 else ("different classes", "two")
            raise ValueError(
                f"LDAHash: no two of the {len(labelled)} labelled rows are of {kind}; pass {fix} "
                f"{'rows of a class' if n_positive < 1e-9 else 'classes or more'}."
            )
        total = RunningStatistics.from_rows(X, with_scatter=True, name="LDAHash")
        check_finite_statistics(self, total)
        # Sums over pairs i < j of (x - x')(x - x')'; n S over all pairs of n rows.
        positive = _positive_scatter(X, shares, total.mean)
        negative = total.n_samples * total.scatter - positive
        shrunk = positive / n_positive
        mean_variance = np.trace(shrunk) / n_features
        if not mean_variance > 0:
            raise ValueError(
                "LDAHash: all rows of a class are equal, so there is no scatter within classes to learn from; pass "
                "rows that differ."
            )
        shrunk.flat[:: n_features + 1] += self.shrinkage * mean_variance
        self.eigenvalues_, weights = generalized_eigenvectors(negative / n_negative, shrunk, self.n_bits)
        n_useful = np.count_nonzero(self.eigenvalues_ > _NEGLIGIBLE * self.eigenvalues_[0])
        if n_useful < self.n_bits:
            raise ValueError(
                f"LDAHash: n_bits={self.n_bits} must be <= {n_useful}, the rank of the training data (n_samples="
                f"{len(labelled)}, n_features={n_features}); use fewer bits or DiscriminantITQ, which has no limit."
            )
        dtype = float_dtype(X)
        check_weights(self, weights, dtype)
        offsets = (total.mean @ weights).astype(dtype)
        projections = apply_to_rows(lambda rows: rows @ weights.astype(dtype) - offsets, X, self.n_bits, dtype)
        self.thresholds_, self.errors_ = _best_thresholds(projections, shares)
        self.components_ = weights.T.astype(dtype)
        self._set_linear_map(X, weights, total.mean)
        self._offsets = self._offsets + self.thresholds_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _count_pairs(shares):
    """Count the positive and the negative pairs, each pair once."""
    positive = (np.sum(shares.sum(axis=0) ** 2) - np.sum(shares.data**2)) / 2
    return positive, shares.shape[0] * (shares.shape[0] - 1) / 2 - positive


def _positive_scatter(X, shares, mean):
    """Sum ``(x - x')(x - x')'`` over positive pairs: ``n_c S_c`` over classes."""
    sizes = shares.sum(axis=0)
    row_weights = shares @ sizes

    def of_block(rows):
        block = block_of(X, rows)
        offsets = (block.toarray() if hasattr(block, "toarray") else block) - mean
        weighted = offsets * np.sqrt(row_weights[rows])[:, None]
        return shares[rows].T @ offsets, weighted.T @ weighted

    sums, scatter = 0, 0
    for block_sums, block_scatter in map_in_order(of_block, gen_batches(X.shape[0], _BLOCK_ROWS), n_pending=2):
        sums, scatter = sums + block_sums, scatter + block_scatter
    return scatter - sums.T @ sums


def _best_thresholds(projections, shares):
    """Find the threshold of each bit between two neighbouring projections, and its error, over all pairs."""
    n_positive, n_negative = _count_pairs(shares)
    coordinates = shares.tocoo()
    rows, classes = coordinates.coords
    entries, sizes = shares.data, shares.sum(axis=0)
    n_samples, n_bits = projections.shape
    # What lies below a threshold times what lies above: the pairs that it separates.
    separated = np.arange(1, n_samples) * np.arange(n_samples - 1, 0, -1.0)
    thresholds, errors = np.zeros((2, n_bits))
    for bit in range(n_bits):
        order = np.argsort(projections[:, bit], kind="stable")
        ranks = np.empty(n_samples, dtype=np.intp)
        ranks[order] = np.arange(n_samples)
        positions = np.lexsort((ranks[rows], classes))
        steps = entries[positions]
        # Sorted by class, so that what classes before hold comes off the running sum.
        below = np.cumsum(steps) - steps - (np.cumsum(sizes) - sizes)[classes[positions]]
        # One more share s below turns L (n - L) pairs into (L + s) (n - L - s).
        changes = steps * (sizes[classes[positions]] - 2 * below - steps)
        positive = np.cumsum(np.bincount(ranks[rows[positions]], weights=changes, minlength=n_samples))[:-1]
        sorted_projections = projections[order, bit].astype(np.float64)
        # No threshold separates equal projections.
        error = positive / n_positive + 1 - (separated - positive) / n_negative
        error[sorted_projections[1:] == sorted_projections[:-1]] = np.inf
        if np.isfinite(error).any():
            best = error.argmin()
            thresholds[bit] = (sorted_projections[best] + sorted_projections[best + 1]) / 2
            errors[bit] = error[best]
        else:
            thresholds[bit], errors[bit] = sorted_projections[0], 1
    return thresholds, errors
