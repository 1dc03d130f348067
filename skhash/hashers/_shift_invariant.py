"""Locality-sensitive hashing for shift-invariant kernels."""

from numbers import Real

import numpy as np
from sklearn.utils import check_random_state

from .._sklearn import Interval
from ._anchors import choose_anchors, kernel_width
from ._base import BaseHasher
from ._blocks import float_dtype
from ._statistics import overflow_error

# Rows to which other rows are compared for the width of the kernel.
_N_ANCHORS = 300


class ShiftInvariantKernelLSH(BaseHasher):
    r"""Hash with random waves whose codes approximate a Gaussian kernel.

    Bit :math:`k` is the sign of a cosine wave in a random direction, with a random phase and threshold:

    .. math:: b_k(x) = [\cos(w_k \cdot x + \beta_k) + t_k \ge 0], \quad w_k \sim N(0, \sigma^{-2} I), \quad
              \beta_k \sim U[0, 2 \pi], \quad t_k \sim U[-1, 1]

    The expected share of bits in which two points differ is a function of their kernel
    :math:`\exp(-\lVert x - y \rVert^2 / (2 \sigma^2))` alone. It is 0 for equal points, grows with their distance, and
    levels off at :math:`4 / \pi^2`, about 0.41, for points that are several :math:`\sigma` apart.

    Parameters
    ----------
    n_bits : int, default=32
        Code length, with no upper limit.

    kernel_width : float, default=None
        Standard deviation :math:`\sigma` of the Gaussian kernel, in the unit of the features. Distances much larger
        than that look alike, so it is the scale up to which neighbours are told apart. The mean distance of training
        rows when not given.

    random_state : int, RandomState instance or None, default=None
        Seed of the waves and of the rows between which distances are averaged.

    Attributes
    ----------
    components_ : ndarray of shape (n_bits, n_features)
        Wave vectors :math:`w_k`.

    phases_ : ndarray of shape (n_bits,)
        Phases :math:`\beta_k`.

    thresholds_ : ndarray of shape (n_bits,)
        Thresholds :math:`t_k`.

    kernel_width_ : float
        The width used; 1 where it was not given and all rows are equal.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    LSH : Random hyperplanes, which approximate angles.

    Notes
    -----
    The paper leaves the width to the user. The mean distance is taken over up to 2000 random rows and 300 others, as
    for the other kernels of this package. There is no `partial_fit`: nothing but that width is learned.

    References
    ----------
    M. Raginsky and S. Lazebnik, "Locality-sensitive binary codes from shift-invariant kernels", NIPS 2009.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import ShiftInvariantKernelLSH
    >>> X, _ = load_digits(return_X_y=True)
    >>> ShiftInvariantKernelLSH(n_bits=16, random_state=0).fit_transform(X).shape
    (1797, 2)
    """

    _parameter_constraints: dict = {
        **BaseHasher._parameter_constraints,
        "kernel_width": [Interval(Real, 0, None, closed="neither"), None],
        "random_state": ["random_state"],
    }

    def __init__(self, n_bits=32, *, kernel_width=None, random_state=None):
        self.n_bits = n_bits
        self.kernel_width = kernel_width
        self.random_state = random_state

    def _fit_bytes(self, n_bits, X):
        # The directions, and the same over the width.
        return 2 * 8 * n_bits * X.shape[1]

    def _fit(self, X, y):
        random, dtype = check_random_state(self.random_state), float_dtype(X)
        # Drawn before the rows, so that the same seed gives the same directions at any width.
        directions = random.standard_normal((self.n_bits, X.shape[1]))
        self.phases_ = random.uniform(0, 2 * np.pi, self.n_bits).astype(dtype)
        self.thresholds_ = random.uniform(-1, 1, self.n_bits).astype(dtype)
        self.kernel_width_ = self._mean_distance(X, random) if self.kernel_width is None else float(self.kernel_width)
        with np.errstate(over="ignore"):
            self.components_ = (directions / self.kernel_width_).astype(dtype)
        if not np.isfinite(self.components_).all():
            raise ValueError(
                f"ShiftInvariantKernelLSH: kernel_width={self.kernel_width_} is too small for directions of {dtype}, "
                "which overflow; pass a larger one, and scale the features if they are as small."
            )

    def _mean_distance(self, X, random):
        anchors = choose_anchors(X, min(_N_ANCHORS, X.shape[0]), random)
        with np.errstate(over="ignore", invalid="ignore"):
            width = kernel_width(X, anchors, random)
        if not np.isfinite(width):
            raise overflow_error(self)
        return width

    def _project_rows(self, X):
        waves = X @ self.components_.T.astype(X.dtype, copy=False)
        waves += self.phases_.astype(X.dtype, copy=False)
        np.cos(waves, out=waves)
        waves += self.thresholds_.astype(X.dtype, copy=False)
        return waves

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
