"""What hashers share that learn signs of functions of kernels to anchors from labels."""

from abc import ABCMeta, abstractmethod
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import check_random_state

from .._memory import check_allocation
from .._sklearn import Interval
from .._validation import all_finite, largest_magnitude
from ._anchors import choose_anchors, gaussian_kernel, kernel_width
from ._base import SupervisedHasher
from ._blocks import apply_to_rows, float_dtype, rows_at
from ._statistics import check_weights


@dataclass(frozen=True)
class AnchorKernel:
    """Gaussian kernels of rows and anchors.

    Attributes
    ----------
    anchors : ndarray of shape (n_anchors, n_features)
        Anchors.

    width : float
        Standard deviation of the kernel.

    centre : ndarray of shape (n_features,), dtype float64
        Mean of the anchors. Dense rows are measured from it, because the distances of rows far from the origin would
        be differences of large numbers.
    """

    anchors: NDArray
    width: float
    centre: NDArray[np.float64]

    @classmethod
    def from_rows(cls, name, X, n_anchors, random_state) -> "AnchorKernel":
        """Draw anchors from rows, and take the width from their distances.

        Parameters
        ----------
        name : str
            The estimator, for messages.

        X : {ndarray, CSR matrix} of shape (n_samples, n_features)
            Rows.

        n_anchors : int
            How many.

        random_state : RandomState instance
            Source of the draws.

        Returns
        -------
        kernel : AnchorKernel
            With different rows as anchors.

        Raises
        ------
        ValueError
            If `n_anchors` exceeds the number of rows, or distances overflow.
        """
        if n_anchors > X.shape[0]:
            raise ValueError(
                f"{name}: n_anchors={n_anchors} must be <= n_samples={X.shape[0]}; use fewer anchors or None."
            )
        anchors = choose_anchors(X, n_anchors, random_state)
        with np.errstate(over="ignore", invalid="ignore"):
            width = kernel_width(X, anchors, random_state)
            centre = anchors.mean(axis=0, dtype=np.float64)
        if not np.isfinite(width) or width > np.sqrt(np.finfo(anchors.dtype).max):
            raise _overflow(name, X)
        return cls(anchors, width, centre)

    def __call__(self, rows):
        """Compute kernels of shape (..., n_anchors) for a stack of rows or a sparse matrix."""
        if sparse.issparse(rows):
            return gaussian_kernel(rows, self.anchors, self.width)
        centred = rows - self.centre.astype(rows.dtype)
        return gaussian_kernel(centred, (self.anchors - self.centre).astype(rows.dtype), self.width)


class KernelHasher(SupervisedHasher, metaclass=ABCMeta):
    """Base of supervised hashers that compute ``sign(k(x) W - offsets)`` with the kernels of rows and anchors.

    A subclass has the parameters `n_anchors`, `max_samples` and `random_state`, and supplies
    ``_learn(features, targets, random)``, which returns W and the offsets. Anchors are drawn from all rows, the rest
    is learned from labelled ones.
    """

    # Of the paper; taken where `n_anchors` is None and there are as many rows.
    _default_n_anchors = 300
    # What the bit of a row takes at one time while codes are learned, at least.
    _bytes_per_bit = 16

    _parameter_constraints: dict = {
        **SupervisedHasher._parameter_constraints,
        "n_anchors": [Interval(Integral, 1, None, closed="left"), None],
        "max_samples": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    }

    @abstractmethod
    def _learn(self, features, targets, random):
        """Learn from mapped labelled rows, and return weights (n_mapped, n_bits) and offsets (n_bits,)."""

    def _fit_labelled(self, X, targets):
        name, random = type(self).__name__, check_random_state(self.random_state)
        rows = targets.labelled
        if len(rows) > self.max_samples:
            rows = np.sort(random.permutation(rows)[: self.max_samples])
        what = f"the codes of {len(rows):,} labelled rows while they are learned, of n_bits={self.n_bits:,}"
        n_bytes = self._bytes_per_bit * len(rows) * self.n_bits
        check_allocation(name, n_bytes, what, "use fewer bits, or lower max_samples")
        targets = targets.select(rows)
        if (targets.labels == targets.labels[0]).all():
            raise ValueError(f"{name}: all {len(rows)} labelled rows have the same labels; pass at least two classes.")
        self._map = self._learn_map(X, random)
        features = self._mapped(rows_at(X, rows))
        with np.errstate(over="ignore"):
            spread = features.max(axis=0) - features.min(axis=0)
        if abs(spread).max() == 0:
            raise ValueError(f"{name}: all {len(rows)} labelled rows are equal; pass rows that differ.")
        weights, offsets = self._learn(features, targets, random)
        check_weights(self, weights, float_dtype(X))
        self._weights, self._offsets = weights.astype(float_dtype(X)), offsets.astype(np.float64)

    def _learn_map(self, X, random):
        n_anchors = self.n_anchors or min(self._default_n_anchors, X.shape[0])
        kernel = AnchorKernel.from_rows(type(self).__name__, X, n_anchors, random)
        self.anchors_, self.width_, self.n_anchors_ = kernel.anchors, kernel.width, len(kernel.anchors)
        return kernel

    def _mapped(self, X):
        """Compute the kernels of all rows of X."""
        check_allocation(
            type(self).__name__,
            X.shape[0] * self.n_anchors_ * float_dtype(X).itemsize,
            f"the matrix of kernels of {X.shape[0]:,} labelled rows and n_anchors={self.n_anchors_:,}",
            "lower n_anchors or max_samples",
        )
        features = apply_to_rows(self._map, X, self.n_anchors_, float_dtype(X))
        if not all_finite(features):
            raise _overflow(type(self).__name__, X)
        return features

    def _project_rows(self, X):
        projections = self._map(X) @ self._weights.astype(X.dtype, copy=False)
        projections -= self._offsets.astype(X.dtype)
        return projections

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _overflow(name, X):
    return ValueError(
        f"{name}: features up to {largest_magnitude(X):.3g} overflow in {float_dtype(X)}; scale them, for example with "
        "sklearn.preprocessing.StandardScaler."
    )
