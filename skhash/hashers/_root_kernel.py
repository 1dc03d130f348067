"""Kernels of rows and anchors, of signed square roots of features that are scaled to norm 1."""

from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from sklearn.utils import gen_batches

from .._validation import largest_magnitude
from ._blocks import block_of, float_dtype, map_in_order, single_threaded_blas
from ._class_statistics import ClassStatistics
from ._statistics import RunningStatistics

# Rows whose kernels are computed at once.
_BLOCK_ROWS = 2048
# Rows from which the width is taken.
_ROWS_FOR_WIDTH = 500
# What is added to the diagonal of the kernels between anchors, which is about 1: some anchors may be equal.
_JITTER = 1e-6


def unit_roots(rows):
    r"""Compute signed square roots and scale them to norm 1: ``sign(x_i) sqrt(abs(x_i) / sum_j abs(x_j))``.

    Parameters
    ----------
    rows : {ndarray of shape (..., n_features), CSR matrix}
        Rows of floats.

    Returns
    -------
    roots : {ndarray, CSR matrix} of the same shape and dtype
        Rows of zeros stay as they are; NaN where a row holds NaN or infinity, or its sum overflows.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if sparse.issparse(rows):
            squares = np.asarray(abs(rows).sum(axis=1)).reshape(-1, 1)
            return rows.sign().multiply(abs(rows).multiply(1 / _usable(squares)).sqrt()).tocsr()
        magnitudes = np.abs(rows)
        magnitudes /= _usable(magnitudes.sum(axis=-1, keepdims=True))
        return np.copysign(np.sqrt(magnitudes, out=magnitudes), rows, out=magnitudes)


def _usable(sums):
    sums[sums == 0] = 1
    # Infinity would turn features that are too large into zeros.
    sums[np.isinf(sums)] = np.nan
    return sums


@dataclass(frozen=True)
class RootKernel:
    r"""Kernels ``exp(-||x - a||^2 / width)`` of the unit roots of rows and anchors.

    Attributes
    ----------
    anchors : ndarray of shape (n_anchors, n_features)
        Unit roots of rows, in random order.

    width : float
        Mean squared distance of a row to an anchor.
    """

    anchors: NDArray
    width: float

    @classmethod
    def from_rows(cls, name, X, n_anchors, random) -> "RootKernel":
        """Draw anchors from rows, and take the width from their distances.

        Parameters
        ----------
        name : str
            The estimator, for messages.

        X : {ndarray, CSR matrix} of shape (n_samples, n_features)
            Finite rows.

        n_anchors : int
            How many, at most the number of rows.

        random : numpy.random.RandomState
            Source of the draws.

        Returns
        -------
        kernel : RootKernel
            With different rows as anchors.

        Raises
        ------
        ValueError
            If features overflow, or all rows are equal but for their norm.
        """
        drawn = random.permutation(X.shape[0])
        anchors = _dense_roots(X, drawn[:n_anchors]).astype(float_dtype(X))
        rows = _dense_roots(X, random.permutation(X.shape[0])[:_ROWS_FOR_WIDTH])
        with single_threaded_blas():
            # Not above 1 but for rounding, which a width of 0 must not depend on.
            width = 2 - 2 * float((rows @ anchors.T.astype(np.float64)).mean())
        if not np.isfinite(width):
            raise overflow_error(name, X)
        if width < np.finfo(anchors.dtype).eps:
            raise ValueError(
                f"{name}: all {X.shape[0]} rows are equal but for their norm in all n_features={X.shape[1]}; pass rows "
                "that differ."
            )
        return cls(anchors, width)

    def __len__(self):
        return len(self.anchors)

    def first(self, n_anchors) -> "RootKernel":
        """Keep the first anchors, at most as many as there are."""
        return RootKernel(self.anchors[:n_anchors], self.width)

    def __call__(self, rows):
        """Compute kernels of shape (..., n_anchors) for rows of floats, in their dtype; NaN where a row is not finite.

        A row of zeros counts as one of norm 1 that is orthogonal to all anchors.
        """
        products = unit_roots(rows) @ self.anchors.T.astype(rows.dtype, copy=False)
        products -= 1
        products *= 2 / self.width
        return np.exp(products, out=products)

    def cholesky(self):
        """Factor the kernels between anchors into ``L L'``: products of ``L^-1 k(x)`` approximate the kernel."""
        anchors = self.anchors.astype(np.float64)
        with single_threaded_blas():
            kernels = anchors @ anchors.T
            kernels -= 1
            np.exp(kernels * (2 / self.width), out=kernels)
            kernels.flat[:: len(kernels) + 1] += _JITTER
            return linalg.cholesky(kernels, lower=True, overwrite_a=True, check_finite=False)

    def class_statistics(self, X, targets) -> ClassStatistics:
        """Accumulate the statistics of the kernels of labelled rows.

        Parameters
        ----------
        X : {ndarray, CSR matrix} of shape (n_samples, n_features)
            Rows.

        targets : Targets
            Their labels; rows without a label take no part.

        Returns
        -------
        statistics : ClassStatistics
            The same bits of the result for any number of threads.
        """
        labelled = targets.labelled

        def of_block(block):
            rows = labelled[block]
            kernels = self(block_of(X, rows).astype(np.float64))
            return ClassStatistics.from_rows(kernels, targets.indicators_of(rows))

        return self._merged(of_block, len(labelled), ClassStatistics.merge)

    def running_statistics(self, X, rows) -> RunningStatistics:
        """Accumulate the statistics of the kernels of some rows.

        Parameters
        ----------
        X : {ndarray, CSR matrix} of shape (n_samples, n_features)
            Rows.

        rows : ndarray of int
            Positions of those that count, at least one.

        Returns
        -------
        statistics : RunningStatistics
            The same bits of the result for any number of threads.
        """

        def of_block(block):
            kernels = self(block_of(X, rows[block]).astype(np.float64))
            return RunningStatistics.from_rows(kernels, with_scatter=True)

        return self._merged(of_block, len(rows), RunningStatistics.merge)

    @staticmethod
    def _merged(of_block, n_rows, merge):
        return reduce(merge, map_in_order(of_block, gen_batches(n_rows, _BLOCK_ROWS), n_pending=2))


def _dense_roots(X, rows):
    roots = unit_roots(block_of(X, rows).astype(np.float64))
    return roots.toarray() if sparse.issparse(roots) else roots


def overflow_error(name, X):
    """Make the error for rows whose sums of magnitudes overflow."""
    return ValueError(
        f"{name}: features up to {largest_magnitude(X):.3g} overflow in {float_dtype(X)}; scale them, for example with "
        "sklearn.preprocessing.StandardScaler."
    )
