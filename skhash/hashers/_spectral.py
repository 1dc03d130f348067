"""Spectral hashing."""

import numpy as np

from .._memory import check_allocation
from ._base import BaseHasher
from ._blocks import float_dtype, outputs_of_stacks
from ._linear_algebra import principal_components
from ._statistics import RunningStatistics, check_finite_statistics, overflow_error


class SpectralHash(BaseHasher):
    r"""Hash with the smoothest functions on a box around the principal components.

    For data spread uniformly over a box with sides :math:`[a_i, b_i]` along the principal directions, the
    eigenfunctions of the similarity graph's Laplacian are products of sine waves. Of the waves along one direction,
    bit :math:`k` takes the sign of the one with the :math:`k`-th smallest eigenvalue:

    .. math:: \Phi_{ij}(v) = \sin\left(\frac{\pi}{2} + \frac{j \pi}{b_i - a_i} (v_i - a_i)\right), \qquad
              \lambda_{ij} \propto \left(\frac{j}{b_i - a_i}\right)^2, \quad j = 1, 2, \ldots

    Parameters
    ----------
    n_bits : int, default=32
        Code length, with no upper limit: long directions give several waves.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Principal directions, at most `n_bits`.

    minimums_ : ndarray of shape (n_components,)
        Least training projection along each direction, :math:`a_i`.

    ranges_ : ndarray of shape (n_components,)
        Lengths of the sides, :math:`b_i - a_i`.

    directions_ : ndarray of shape (n_bits,), dtype int64
        For each bit, the index of its direction.

    modes_ : ndarray of shape (n_bits,), dtype int64
        For each bit, the number :math:`j` of half waves along its direction.

    mean_ : ndarray of shape (n_features,)
        Mean of the training features.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    PCAH : One bit a direction.

    Notes
    -----
    The box is the range of the training projections, so a single outlier stretches it. There is no `partial_fit`:
    ranges along directions that move cannot be merged.

    References
    ----------
    Y. Weiss, A. Torralba and R. Fergus, "Spectral hashing", NIPS 2008.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import SpectralHash
    >>> X, _ = load_digits(return_X_y=True)
    >>> hasher = SpectralHash(n_bits=16).fit(X)
    >>> hasher.transform(X[:1]).shape
    (1, 2)
    """

    _parameter_constraints: dict = {**BaseHasher._parameter_constraints}

    def __init__(self, n_bits=32):
        self.n_bits = n_bits

    def _fit(self, X, y):
        statistics = RunningStatistics.from_rows(X, with_scatter=True, name="SpectralHash")
        check_finite_statistics(self, statistics)
        n_components = min(self.n_bits, X.shape[1])
        components, variances = principal_components(statistics, n_components)
        # Directions without variance have no range to put a wave on.
        components = components[variances > 0]
        if len(components) == 0:
            raise ValueError(f"SpectralHash: all {X.shape[0]} training rows are equal; pass rows that differ.")
        self._weights = components.T.copy()
        self._offsets = statistics.mean @ self._weights
        dtype = float_dtype(X)
        self.components_ = components.astype(dtype)
        self.mean_ = statistics.mean.astype(dtype)
        self.minimums_, maximums = self._extremes(X)
        with np.errstate(over="ignore", invalid="ignore"):
            self.ranges_ = maximums - self.minimums_
        if not np.isfinite(self.ranges_).all():
            raise overflow_error(self)
        self.directions_, self.modes_ = _smallest_eigenvalues(self.ranges_, self.n_bits)

    def _extremes(self, X):
        """Find the smallest and the largest projections of rows, of which few are kept at a time."""
        minimums, maximums = np.full((2, self._weights.shape[1]), [[np.inf], [-np.inf]], dtype=float_dtype(X))
        for projections in outputs_of_stacks(self._principal_projections, X, len(minimums)):
            np.minimum(minimums, projections.min(axis=0), out=minimums)
            np.maximum(maximums, projections.max(axis=0), out=maximums)
        return minimums, maximums

    def _principal_projections(self, X):
        projections = X @ self._weights.astype(X.dtype, copy=False)
        projections -= self._offsets.astype(X.dtype, copy=False)
        return projections

    def _project_rows(self, X):
        positions = (self._principal_projections(X) - self.minimums_) / self.ranges_
        waves = positions[..., self.directions_] * (np.pi * self.modes_)
        # sin(pi / 2 + t) = cos(t)
        return np.cos(waves).astype(X.dtype, copy=False)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _smallest_eigenvalues(ranges, n_bits):
    """Pick the `n_bits` smallest ``(mode / range) ** 2`` over all directions and modes, nearer directions first."""
    what = f"the table of {n_bits:,} modes of {len(ranges):,} directions for n_bits={n_bits:,}"
    check_allocation("SpectralHash", 2 * 8 * n_bits * len(ranges), what, "use fewer bits")
    modes = np.arange(1, n_bits + 1)
    eigenvalues = (modes[:, None] / ranges[None, :].astype(np.float64)) ** 2
    order = np.argsort(eigenvalues, axis=None, kind="stable")[:n_bits]
    mode_indices, directions = np.unravel_index(order, eigenvalues.shape)
    return directions.astype(np.int64), modes[mode_indices].astype(np.int64)
