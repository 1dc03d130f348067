"""Sketches of scatter matrices that can be merged: principal components of wide rows in little memory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from sklearn.utils import gen_batches

from ._blocks import block_of, single_threaded_blas
from ._linear_algebra import rounding, with_fixed_signs
from ._statistics import RunningStatistics


@dataclass(frozen=True)
class FrequentDirections:
    r"""Number and mean of the rows seen so far, and a few rows :math:`B` whose scatter is close to that of all.

    With :math:`A` the centred rows and :math:`\ell` the size,

    .. math:: 0 \preceq A'A - B'B \preceq \frac{\lVert A \rVert_F^2}{\ell} I .

    Rows are stacked under the sketch, and whenever there are more than it may hold, :math:`\sigma_\ell^2` is subtracted
    from all squared singular values. Each time, :math:`\lVert B \rVert_F^2` falls by at least :math:`\ell
    \sigma_\ell^2`, which bounds the sum of what was subtracted. Sketches of two sets of rows are stacked in the same
    way, with one row for the distance of their means.

    Attributes
    ----------
    n_samples : int
        Number of rows.

    mean : ndarray of shape (n_features,), dtype float64
        Mean of the rows.

    rows : ndarray of shape (n_rows, n_features), dtype float64
        The sketch: orthogonal, by falling length, fewer than `size`.

    size : int
        The size.

    References
    ----------
    E. Liberty, "Simple and deterministic matrix sketching", KDD 2013.
    """

    n_samples: int
    mean: NDArray[np.float64]
    rows: NDArray[np.float64]
    size: int

    @classmethod
    def from_rows(cls, X, size: int) -> "FrequentDirections":
        """Sketch a matrix block by block.

        Parameters
        ----------
        X : {ndarray, CSR matrix} of shape (n_samples, n_features)
            Rows.

        size : int
            One more than the number of rows that the sketch may hold.

        Returns
        -------
        sketch : FrequentDirections
            The same bits of the result for any number of threads.
        """
        mean = RunningStatistics.from_rows(X, with_scatter=False).mean
        rows = np.empty((0, X.shape[1]))
        # Of a mean that overflowed, no row can be subtracted.
        for batch in gen_batches(X.shape[0], size) if np.isfinite(mean).all() else ():
            block = block_of(X, batch)
            block = block.toarray() if sparse.issparse(block) else block
            rows = _shrink(np.concatenate([rows, block.astype(np.float64) - mean]), size)
        return cls(X.shape[0], mean, rows, size)

    def merge(self, other: "FrequentDirections") -> "FrequentDirections":
        """Merge with the sketch of other rows.

        Parameters
        ----------
        other : FrequentDirections
            Of the same features and size.

        Returns
        -------
        merged : FrequentDirections
            Sketch of all rows, with the same bound.
        """
        n_samples = self.n_samples + other.n_samples
        with np.errstate(over="ignore", invalid="ignore"):
            difference = other.mean - self.mean
            mean = self.mean + difference * (other.n_samples / n_samples)
            between = np.sqrt(self.n_samples / n_samples * other.n_samples) * difference
            rows = _shrink(np.concatenate([self.rows, other.rows, between[None]]), self.size)
        return FrequentDirections(n_samples, mean, rows, self.size)

    def principal_components(self, n_components):
        """Compute the leading principal components of the sketch.

        Parameters
        ----------
        n_components : int
            How many, less than the size.

        Returns
        -------
        components : ndarray of shape (n_components, n_features)
            Orthonormal rows by falling variance; the entry of largest magnitude of each row is positive. Rows of zeros
            where the sketch has fewer directions.

        variances : ndarray of shape (n_components,)
            Variances along them in the sketch, with the divisor ``n_samples - 1``.
        """
        lengths = np.linalg.norm(self.rows, axis=1)[:n_components]
        components = np.zeros((n_components, len(self.mean)))
        components[: len(lengths)] = with_fixed_signs(self.rows[:n_components] / lengths[:, None])
        variances = np.zeros(n_components)
        variances[: len(lengths)] = lengths**2 / (self.n_samples - 1)
        variances[variances <= variances[0] * rounding(self)] = 0
        return components, variances

    def variances_along(self, components):
        """Compute the variances of the sketch along directions.

        Parameters
        ----------
        components : ndarray of shape (n_components, n_features)
            Rows of unit length.

        Returns
        -------
        variances : ndarray of shape (n_components,)
            With the divisor ``n_samples - 1``.
        """
        with single_threaded_blas():
            return np.sum((self.rows @ components.T) ** 2, axis=0) / (self.n_samples - 1)

    def is_finite(self):
        """Tell whether no product overflowed."""
        return bool(np.isfinite(self.mean).all() and np.isfinite(self.rows).all())


def _shrink(rows, size):
    """Rotate rows so that they are orthogonal, and shorten them until fewer than `size` are left."""
    if not np.isfinite(rows).all():
        return np.full((1, rows.shape[1]), np.inf)
    with single_threaded_blas(), np.errstate(over="ignore", invalid="ignore"):
        _, lengths, directions = linalg.svd(rows, full_matrices=False, lapack_driver="gesdd")
        squares = lengths**2
        if not np.isfinite(squares).all():
            return np.full((1, rows.shape[1]), np.inf)
        if len(squares) >= size:
            squares = squares[: size - 1] - squares[size - 1]
        squares = squares[squares > squares[:1] * np.finfo(np.float64).eps * max(rows.shape)]
        return np.sqrt(squares)[:, None] * directions[: len(squares)]
