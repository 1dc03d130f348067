"""Statistics of classes that can be merged: what discriminant methods learn from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ._blocks import block_of, map_in_order


@dataclass(frozen=True)
class ClassStatistics:
    """Number and mean of the rows of each class, and the scatter of all rows around the means of their classes.

    A row with several labels counts once, shared evenly by its classes. Two of them merge into the statistics of the
    union.

    Attributes
    ----------
    weights : ndarray of shape (n_classes,), dtype float64
        Rows of each class; a row with m labels counts 1 / m in each.

    means : ndarray of shape (n_classes, n_features), dtype float64
        Weighted mean of the rows of each class; zeros for a class without rows.

    scatter_within : ndarray of shape (n_features, n_features), dtype float64
        Weighted sum over rows and their classes of ``(x - m_c)(x - m_c)'``.
    """

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    scatter_within: NDArray[np.float64]

    @classmethod
    def from_rows(cls, X, indicators, *, dtype=np.float64) -> "ClassStatistics":
        """Accumulate the statistics of labelled rows.

        Parameters
        ----------
        X : {ndarray, CSR matrix} of shape (n_samples, n_features)
            Rows.

        indicators : ndarray of shape (n_samples, n_classes)
            1 for the classes of a row, else 0; rows of zeros take no part.

        dtype : dtype, default=float64
            Of the products of a few thousand rows, whose sums are float64. float32 is twice as fast, and precise enough
            for scatter matrices to which a ridge is added.

        Returns
        -------
        statistics : ClassStatistics
            The same bits of the result for any number of threads.
        """
        labelled = np.flatnonzero(indicators.any(axis=1))
        shares = indicators[labelled].astype(np.float64)
        shares /= shares.sum(axis=1, keepdims=True)
        weights = shares.sum(axis=0)
        # Sums are taken of rows less a point among them: large numbers would lose the digits in which classes differ.
        origin = _dense(block_of(X, labelled[:_BLOCK_ROWS]), dtype).mean(axis=0) if len(labelled) else 0

        def of_block(rows):
            with np.errstate(over="ignore", invalid="ignore"):
                offsets = _dense(block_of(X, labelled[rows]), dtype) - origin
                return shares[rows].astype(dtype).T @ offsets, offsets.T @ offsets

        sums, scatter = np.zeros((indicators.shape[1], X.shape[1])), np.zeros((X.shape[1],) * 2)
        n_pending = max(1, _PENDING_BYTES // (8 * X.shape[1] ** 2))
        blocks = [slice(start, start + _BLOCK_ROWS) for start in range(0, len(labelled), _BLOCK_ROWS)]
        for block_sums, block_scatter in map_in_order(of_block, blocks, n_pending=n_pending):
            sums += block_sums
            scatter += block_scatter
        offsets = sums / np.maximum(weights, np.finfo(float).tiny)[:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            scatter -= (offsets * weights[:, None]).T @ offsets
        return cls(weights, np.where(weights[:, None] > 0, offsets + origin, 0), scatter)

    def is_finite(self):
        """Tell whether no product overflowed."""
        return bool(np.isfinite(self.means).all() and np.isfinite(self.scatter_within).all())

    @property
    def n_samples(self):
        """Number of labelled rows."""
        return self.weights.sum()

    @property
    def mean(self):
        """Mean of the labelled rows."""
        return self.weights @ self.means / self.n_samples

    @property
    def scatter(self):
        """Sum over rows of ``(x - m)(x - m)'``."""
        return self.scatter_within + self.scatter_between

    @property
    def scatter_between(self):
        """Weighted sum over classes of ``(m_c - m)(m_c - m)'``."""
        offsets = np.where(self.weights[:, None] > 0, self.means - self.mean, 0)
        return (offsets * self.weights[:, None]).T @ offsets

    def select(self, classes) -> "ClassStatistics":
        """Return the means and weights of some classes, with the scatter within all of them left as it is.

        Parameters
        ----------
        classes : ndarray of shape (n_selected,)
            Positions.

        Returns
        -------
        statistics : ClassStatistics
            Of these classes.
        """
        return ClassStatistics(self.weights[classes], self.means[classes], self.scatter_within)

    def spread(self, positions, n_classes) -> "ClassStatistics":
        """Place the classes among others, which have no rows.

        Parameters
        ----------
        positions : ndarray of shape (n_own_classes,)
            Where each class goes.

        n_classes : int
            Number of classes after.

        Returns
        -------
        statistics : ClassStatistics
            With the scatter within classes as it is.
        """
        weights, means = np.zeros(n_classes), np.zeros((n_classes, self.means.shape[1]))
        weights[positions], means[positions] = self.weights, self.means
        return ClassStatistics(weights, means, self.scatter_within)

    def merge(self, other: "ClassStatistics") -> "ClassStatistics":
        """Merge with the statistics of other rows of the same classes.

        Parameters
        ----------
        other : ClassStatistics
            Of the same features and classes.

        Returns
        -------
        merged : ClassStatistics
            Statistics of all rows.
        """
        weights = self.weights + other.weights
        difference = other.means - self.means
        share = other.weights / np.maximum(weights, np.finfo(float).tiny)
        # A class without rows so far has no mean to move away from.
        means = np.where(self.weights[:, None] > 0, self.means + share[:, None] * difference, other.means)
        moved = (self.weights * share)[:, None] * difference
        return ClassStatistics(weights, means, self.scatter_within + other.scatter_within + moved.T @ difference)


# Rows of one product.
_BLOCK_ROWS = 4096
# Scatter matrices of blocks that wait to be added take this much memory at most, or one of them if it is larger.
_PENDING_BYTES = 2**27


def _dense(block, dtype):
    return (block.toarray() if sparse.issparse(block) else block).astype(dtype, copy=False)
