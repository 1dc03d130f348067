"""Statistics of rows that can be merged: the state behind ``partial_fit``, out-of-core and distributed fits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import gen_batches

from .._memory import check_allocation
from ._blocks import block_of, map_in_order, single_threaded_blas

# Large enough that the merge, n_features ** 2 operations a block, costs little beside the products.
_BLOCK_ROWS = 4096
# Scatter matrices of blocks that wait to be merged take this much memory at most, or one of them if it is larger.
_PENDING_BYTES = 2**27


@dataclass(frozen=True)
class RunningStatistics:
    """Number, mean and, when asked for, scatter matrix of the rows seen so far.

    Two of them merge into the statistics of the union by the update of Chan, Golub and LeVeque, which subtracts means
    before it squares and so keeps the digits that ``sum(x x') - n m m'`` loses.

    Attributes
    ----------
    n_samples : int
        Number of rows.

    mean : ndarray of shape (n_features,), dtype float64
        Mean of the rows.

    scatter : ndarray of shape (n_features, n_features), dtype float64, or None
        Sum over rows of ``(x - mean)(x - mean)'``.

    References
    ----------
    T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", COMPSTAT 1982.
    """

    n_samples: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64] | None

    @classmethod
    def from_rows(cls, X, *, with_scatter: bool, name: str = "RunningStatistics") -> "RunningStatistics":
        """Accumulate the statistics of a matrix block by block.

        Parameters
        ----------
        X : {ndarray, CSR matrix} of shape (n_samples, n_features)
            Rows.

        with_scatter : bool
            Whether to accumulate the scatter matrix.

        name : str, default="RunningStatistics"
            Whom to name in the error where there is no memory for that matrix.

        Returns
        -------
        statistics : RunningStatistics
            The same bits of the result for any number of threads.
        """

        n_features = X.shape[1]
        if with_scatter:
            # That of a block, and their sum.
            what = f"the scatter matrix of {n_features:,} features and that of a block of rows"
            fix = "use LSH, which needs none, or fewer features, for example of sklearn.random_projection"
            check_allocation(name, 2 * 8 * n_features**2, what, fix)

        def of_block(rows):
            block = block_of(X, rows).astype(np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                if sparse.issparse(block):
                    return cls._from_sparse_block(block, with_scatter)
                return cls._from_dense_block(block, with_scatter)

        n_pending = max(1, _PENDING_BYTES // (8 * n_features**2)) if with_scatter else None
        blocks = map_in_order(of_block, gen_batches(X.shape[0], _BLOCK_ROWS), n_pending=n_pending)
        total = next(blocks)
        for statistics in blocks:
            total = total.merge(statistics)
        return total

    @classmethod
    def _from_dense_block(cls, block, with_scatter):
        mean = block.mean(axis=0)
        if not with_scatter:
            return cls(len(block), mean, None)
        block -= mean
        return cls(len(block), mean, block.T @ block)

    @classmethod
    def _from_sparse_block(cls, block, with_scatter):
        n_samples = block.shape[0]
        mean = np.asarray(block.mean(axis=0)).ravel()
        if not with_scatter:
            return cls(n_samples, mean, None)
        return cls(n_samples, mean, (block.T @ block).toarray() - n_samples * np.outer(mean, mean))

    def merge(self, other: "RunningStatistics") -> "RunningStatistics":
        """Merge with the statistics of other rows.

        Parameters
        ----------
        other : RunningStatistics
            Of the same features, with a scatter matrix where this one has it.

        Returns
        -------
        merged : RunningStatistics
            Statistics of all rows.
        """
        n_samples = self.n_samples + other.n_samples
        weight = self.n_samples * other.n_samples / n_samples
        # What overflows here is refused by `check_finite_statistics`.
        with np.errstate(over="ignore", invalid="ignore"):
            difference = other.mean - self.mean
            mean = self.mean + difference * (other.n_samples / n_samples)
            if self.scatter is None or other.scatter is None:
                return RunningStatistics(n_samples, mean, None)
            scatter = self.scatter + other.scatter + weight * np.outer(difference, difference)
        return RunningStatistics(n_samples, mean, scatter)

    def variances_along(self, components):
        """Compute the variances of the rows along directions.

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
            return np.einsum("ij,ij->i", components @ self.scatter, components) / (self.n_samples - 1)

    def is_finite(self):
        """Tell whether no product overflowed."""
        return bool(np.isfinite(self.mean).all() and (self.scatter is None or np.isfinite(self.scatter).all()))


def check_finite_statistics(estimator, statistics):
    """Refuse features so large that their products overflow.

    Parameters
    ----------
    estimator : estimator
        Named in the error.

    statistics : RunningStatistics or FrequentDirections
        Of the training features.

    Raises
    ------
    ValueError
        If the mean or the scatter matrix is not finite.
    """
    if not statistics.is_finite():
        raise overflow_error(estimator)


def overflow_error(estimator):
    """Make the error for features so large that their products overflow.

    Parameters
    ----------
    estimator : estimator
        Named in the error.

    Returns
    -------
    error : ValueError
        To be raised.
    """
    return ValueError(
        f"{type(estimator).__name__}: features are so large that their products overflow; scale them, for example "
        "with sklearn.preprocessing.StandardScaler."
    )


def check_weights(estimator, weights, dtype):
    """Refuse weights that overflow where they are cast, as those that divide by the spread of very small features do.

    Parameters
    ----------
    estimator : estimator
        Named in the error.

    weights : ndarray, dtype float64
        What projections are computed with.

    dtype : dtype
        What they are cast to.

    Raises
    ------
    ValueError
        If one exceeds what the dtype holds.
    """
    if np.abs(weights).max() > np.finfo(dtype).max:
        raise ValueError(
            f"{type(estimator).__name__}: the features are so small that weights which divide by their spread overflow "
            f"{dtype}; scale them, or pass them in float64."
        )
