"""Spherical hashing."""

from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state

from .._sklearn import Interval
from ._anchors import squared_distances
from ._base import BaseHasher
from ._blocks import apply_to_rows, block_of, single_threaded_blas
from ._statistics import overflow_error

# Rows whose mean a pivot starts from.
_ROWS_PER_PIVOT = 5


class SphericalHash(BaseHasher):
    r"""Hash with balls, each holding half of the data and each two a quarter.

    Bit :math:`k` says whether a point lies in the ball around the pivot :math:`p_k`:

    .. math:: b_k(x) = [\lVert x - p_k \rVert \le t_k]

    The radius :math:`t_k` is the median distance of the training rows, so that each bit is balanced. Bits are
    independent in pairs when balls :math:`i` and :math:`j` share :math:`o_{ij} = n / 4` of the :math:`n` rows. Pivots
    that share more are pushed apart and those that share less are pulled together, by turns with new radii:

    .. math:: p_i \leftarrow p_i + \frac{1}{K} \sum_j \frac{1}{2} \, \frac{o_{ij} - n/4}{n/4} \, (p_i - p_j)

    Parameters
    ----------
    n_bits : int, default=32
        Code length, with no upper limit.

    max_iter : int, default=100
        Largest number of turns. If `n_iter_` reaches it, the overlaps may be outside the tolerances.

    mean_tolerance : float, default=0.1
        Turns end when the mean of :math:`|o_{ij} - n/4|` is at most this share of :math:`n / 4`, and
        `deviation_tolerance` is met too.

    deviation_tolerance : float, default=0.15
        Turns end when the standard deviation of :math:`o_{ij}` is at most this share of :math:`n / 4`, and
        `mean_tolerance` is met too.

    max_samples : int, default=20000
        Number of rows to learn from, drawn at random if there are more.

    random_state : int, RandomState instance or None, default=None
        Seed of the first pivots and of the choice of rows.

    Attributes
    ----------
    pivots_ : ndarray of shape (n_bits, n_features)
        Centres of the balls.

    radii_ : ndarray of shape (n_bits,)
        Radii of the balls, in the unit of the features.

    overlap_errors_ : ndarray of shape (n_iter_,)
        Mean of :math:`|o_{ij} - n/4|` over :math:`n / 4`, at each turn.

    overlap_deviations_ : ndarray of shape (n_iter_,)
        Standard deviation of :math:`o_{ij}` over :math:`n / 4`, at each turn.

    n_iter_ : int
        Number of turns taken.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    skhash.neighbors.spherical_neighbors : Search by the paper's own distance.
    skhash.neighbors.rerank_spherical : Order a shortlist by it.
    skhash.codes.spherical_hamming_distances : Compute it.

    Notes
    -----
    Two points in the same ball are close, while two points outside of it may be anywhere. So the paper compares codes
    by the *spherical Hamming distance*, the number of bits that differ over the number of balls that hold both points.
    Codes are searched by the Hamming distance as ever; the functions above use the other one. Measure which is better:
    by labels of CIFAR-10 on features of a network it was the Hamming distance, at each code length.

    Each pivot starts as the mean of five random rows, as in the authors' program. Pivots are always linear
    combinations of the first ones, so that turns need inner products with these alone, not the features again. The
    overlaps do not fall at every turn, and the paper does not claim so. A projection is
    :math:`t_k^2 - \lVert x - p_k \rVert^2`. There is no `partial_fit`: medians cannot be merged.

    References
    ----------
    J.-P. Heo, Y. Lee, J. He, S.-F. Chang and S.-E. Yoon, "Spherical hashing", CVPR 2012.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import SphericalHash
    >>> X, _ = load_digits(return_X_y=True)
    >>> hasher = SphericalHash(n_bits=16, random_state=0).fit(X)
    >>> hasher.transform(X[:1]).shape
    (1, 2)
    """

    _parameter_constraints: dict = {
        **BaseHasher._parameter_constraints,
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "mean_tolerance": [Interval(Real, 0, None, closed="left")],
        "deviation_tolerance": [Interval(Real, 0, None, closed="left")],
        "max_samples": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_bits=32,
        *,
        max_iter=100,
        mean_tolerance=0.1,
        deviation_tolerance=0.15,
        max_samples=20_000,
        random_state=None,
    ):
        self.n_bits = n_bits
        self.max_iter = max_iter
        self.mean_tolerance = mean_tolerance
        self.deviation_tolerance = deviation_tolerance
        self.max_samples = max_samples
        self.random_state = random_state

    def _fit_bytes(self, n_bits, X):
        # Products of pivots, and what makes pivots of the first ones.
        return 2 * 8 * n_bits**2

    def _fit(self, X, y):
        random = check_random_state(self.random_state)
        sample = X
        if X.shape[0] > self.max_samples:
            sample = X[np.sort(random.permutation(X.shape[0])[: self.max_samples])]
        pivots = self._first_pivots(sample, random)
        with np.errstate(over="ignore", invalid="ignore"), single_threaded_blas():
            products = apply_to_rows(lambda rows: rows @ pivots.T, sample, self.n_bits, pivots.dtype).T.astype(float)
            norms = apply_to_rows(_squared_norms, sample, 1, pivots.dtype)[:, 0].astype(float)
            pivot_products = pivots.astype(float) @ pivots.T.astype(float)
        if not (np.isfinite(products).all() and np.isfinite(norms).all() and np.isfinite(pivot_products).all()):
            raise overflow_error(self)
        largest = (norms - 2 * products + np.diag(pivot_products)[:, None]).max()
        if largest <= 10 * X.shape[1] * np.finfo(pivots.dtype).eps * norms.max():
            raise ValueError(
                f"SphericalHash: all {len(norms)} training rows are equal up to rounding; pass rows that differ."
            )
        with single_threaded_blas():
            combinations, squared_radii = self._move(products, norms, pivot_products)
            self.pivots_ = (combinations @ pivots).astype(pivots.dtype)
        self.radii_ = np.sqrt(squared_radii).astype(pivots.dtype)

    def _first_pivots(self, sample, random):
        rows = block_of(sample, random.randint(sample.shape[0], size=self.n_bits * _ROWS_PER_PIVOT))
        if sparse.issparse(rows):
            rows = rows.toarray()
        with np.errstate(over="ignore"):
            return rows.reshape(self.n_bits, _ROWS_PER_PIVOT, -1).mean(axis=1)

    def _move(self, products, norms, pivot_products):
        """Move the pivots by turns; return them as combinations of the first ones, and their squared radii."""
        n_bits, quarter = self.n_bits, len(norms) / 4
        combinations, is_pair = np.eye(n_bits), ~np.eye(n_bits, dtype=bool)
        errors, deviations = [], []
        while True:
            pivot_norms = np.einsum("ij,ij->i", combinations @ pivot_products, combinations)
            distances = norms - 2 * (combinations @ products) + pivot_norms[:, None]
            squared_radii = np.maximum(np.median(distances, axis=1), 0)
            inside = (distances <= squared_radii[:, None]).astype(float)
            overlaps = (inside @ inside.T) / quarter - 1
            # A single ball has no pairs, and nothing to improve.
            pairs = overlaps[is_pair] if n_bits > 1 else np.zeros(1)
            errors.append(np.abs(pairs).mean())
            deviations.append(pairs.std())
            is_done = errors[-1] <= self.mean_tolerance and deviations[-1] <= self.deviation_tolerance
            if is_done or len(errors) == self.max_iter:
                break
            forces = np.where(is_pair, overlaps / 2, 0)
            combinations += (forces.sum(axis=1)[:, None] * combinations - forces @ combinations) / n_bits
        self.overlap_errors_, self.overlap_deviations_ = np.array(errors), np.array(deviations)
        self.n_iter_ = len(errors)
        return combinations, squared_radii

    def _project_rows(self, X):
        distances = squared_distances(X, self.pivots_)
        return np.subtract(np.square(self.radii_.astype(X.dtype)), distances, out=distances)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _squared_norms(rows):
    if sparse.issparse(rows):
        return np.asarray(rows.multiply(rows).sum(axis=1)).reshape(-1, 1)
    return np.einsum("...j,...j->...", rows, rows)[..., None]
