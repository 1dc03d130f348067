"""Statistics of classes that can be merged: what discriminant methods learn from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._blocks import block_of
from ._statistics import RunningStatistics


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
    def from_rows(cls, X, indicators) -> "ClassStatistics":
        """Accumulate the statistics of labelled rows.

        Parameters
        ----------
        X : {ndarray, CSR matrix} of shape (n_samples, n_features)
            Rows.

        indicators : ndarray of shape (n_samples, n_classes)
            1 for the classes of a row, else 0; rows of zeros take no part.

        Returns
        -------
        statistics : ClassStatistics
            The same bits of the result for any number of threads.
        """
        labelled = np.flatnonzero(indicators.any(axis=1))
        shares = indicators[labelled].astype(np.float64)
        shares /= shares.sum(axis=1, keepdims=True)
        weights = shares.sum(axis=0)
        total = RunningStatistics.from_rows(X[labelled], with_scatter=True)
        sums = np.zeros((indicators.shape[1], X.shape[1]))
        for start in range(0, len(labelled), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            # Of centred rows, because a sum of large numbers loses the digits in which classes differ.
            sums += shares[rows].T @ _centred(block_of(X, labelled[rows]), total.mean)
        offsets = sums / np.maximum(weights, np.finfo(float).tiny)[:, None]
        scatter_between = (offsets * weights[:, None]).T @ offsets
        means = np.where(weights[:, None] > 0, offsets + total.mean, 0)
        return cls(weights, means, total.scatter - scatter_between)

    @property
    def n_samples(self):
        """Number of labelled rows."""
        return self.weights.sum()

    @property
    def mean(self):
        """Mean of the labelled rows."""
        return self.weights @ self.means / self.n_samples

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


def _centred(block, mean):
    dense = block.toarray() if hasattr(block, "toarray") else block
    return dense.astype(np.float64) - mean
