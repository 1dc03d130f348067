"""Anchor graph hashing."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state

from .._sklearn import Interval
from ._anchors import AnchorMap, smoothest_functions
from ._base import BaseHasher

# Eigenvalues of the graph, and what of a row joins the two sides of zero, are at most 1; below this they are rounding
# errors.
_ROUNDING = 1e-10

# Functions that are equal but for rounding errors, also in single precision, differ by less than this part.
_EQUAL = 1e-5


class AnchorGraphHash(BaseHasher):
    r"""Hash with the smoothest functions on a graph that joins rows through anchors.

    Each row is described by kernel weights :math:`z(x)` on its :math:`s` nearest of :math:`m` anchors, which sum to 1.
    The adjacency matrix :math:`A = Z \Lambda^{-1} Z'`, :math:`\Lambda = \mathrm{diag}(Z'1)`, joins the rows that share
    anchors. Its leading eigenvectors, the smoothest functions on the graph, follow from the small matrix
    :math:`M = \Lambda^{-1/2} Z'Z \Lambda^{-1/2} = V \Sigma V'` and extend to new rows:

    .. math:: y(x) = W' z(x), \qquad W = \sqrt{n}\, \Lambda^{-1/2} V \Sigma^{-1/2},

    without the constant one. One layer takes the sign of each. Two layers take half as many functions and cut each side
    of zero once more, into rows above :math:`b^+` and rows below :math:`b^-`:

    .. math:: f(x) = y(x) - b^+ \text{ if } y(x) \ge 0, \text{ else } b^- - y(x).

    The thresholds minimise :math:`f'(I - A)f` over balanced bits, :math:`1'f = 0`, in closed form.

    Parameters
    ----------
    n_bits : int, default=32
        Code length. One layer gives fewer bits than there are anchors, two layers up to twice as many.

    n_layers : {1, 2}, default=1
        Bits from each function on the graph. Of an odd number of bits, the second layer has one less.

    n_anchors : int, default=300
        Number of anchors, centres of clusters of rows. Fewer rows give as many anchors as there are rows.

    n_nearest : int, default=2
        Anchors that a row is described by, :math:`s`; all of them where there are fewer.

    random_state : int, RandomState instance or None, default=None
        Seed of the clustering.

    Attributes
    ----------
    anchors_ : ndarray of shape (n_anchors_, n_features)
        Anchors.

    n_anchors_ : int
        Number of different anchors.

    width_ : float
        The :math:`\sigma` of the kernel :math:`\exp(-\lVert x - a \rVert^2 / (2 \sigma^2))`.

    eigenvalues_ : ndarray of shape (n_functions,)
        Eigenvalues of the graph that belong to the functions, falling from 1 at most; 1 separates parts of the graph
        that no row joins.

    weights_ : ndarray of shape (n_anchors_, n_functions)
        Values of the functions at the anchors, :math:`W`.

    thresholds_ : ndarray of shape (2, n_bits // 2)
        :math:`b^+` and :math:`b^-` of each function with two bits; only with two layers.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    SpectralHash : The smoothest functions on a box.
    InductiveManifoldHash : Embeds the anchors instead of all rows.

    Notes
    -----
    As in the authors' code, :math:`2 \sigma^2` is the square of the mean distance to the :math:`s`-th nearest anchor.
    It is taken from 2 000 rows. The anchors are found by mini-batch k-means among 50 random rows for each; all rows
    take part in the graph, in blocks. What is learned is learned in double precision for features of any dtype.

    With few nearest anchors the graph often falls into parts that no row joins. The authors drop every eigenvector with
    an eigenvalue near 1, and with them the functions that separate the parts; here only the constant one is dropped.
    All functions that are constant on each part have the eigenvalue 1, and the graph says nothing about which of them
    to take. Taken are those that vary most between anchors far from each other, weighted by their rows; rounding errors
    would choose otherwise. All other functions are 0 outside of one part, where the bit of the first layer is 1. An
    eigenvalue that a graph has twice by its symmetry is left as it is.

    References
    ----------
    W. Liu, J. Wang, S. Kumar and S.-F. Chang, "Hashing with graphs", ICML 2011.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import AnchorGraphHash
    >>> X, _ = load_digits(return_X_y=True)
    >>> hasher = AnchorGraphHash(n_bits=16, random_state=0).fit(X)
    >>> hasher.transform(X[:1]).shape
    (1, 2)
    """

    _parameter_constraints: dict = {
        **BaseHasher._parameter_constraints,
        "n_layers": [Interval(Integral, 1, 2, closed="both")],
        "n_anchors": [Interval(Integral, 2, None, closed="left")],
        "n_nearest": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, n_bits=32, *, n_layers=1, n_anchors=300, n_nearest=2, random_state=None):
        self.n_bits = n_bits
        self.n_layers = n_layers
        self.n_anchors = n_anchors
        self.n_nearest = n_nearest
        self.random_state = random_state

    def _fit(self, X, y):
        random = check_random_state(self.random_state)
        self._map = AnchorMap.from_rows(self, X, self.n_anchors, self.n_nearest, random)
        self.anchors_, self.n_anchors_, self.width_ = self._map.anchors, len(self._map.anchors), self._map.width
        masses, gram = self._map.sum_over_rows(X, lambda Z: (Z.sum(axis=0), Z.T @ Z))
        # The rows of Z sum to 1, so those of Z'Z sum to the masses, and Lambda holds the degrees of the anchors.
        self.eigenvalues_, functions = smoothest_functions(gram, self.anchors_, -(-self.n_bits // self.n_layers))
        limit = self.n_layers * np.count_nonzero(self.eigenvalues_ > _ROUNDING)
        if self.n_bits > limit:
            raise ValueError(
                f"AnchorGraphHash: n_bits={self.n_bits} must be <= {limit}, what {self.n_anchors_} different anchors "
                f"give with n_layers={self.n_layers}; use fewer bits, or more anchors (n_anchors={self.n_anchors}) and "
                f"rows (n_samples={X.shape[0]})."
            )
        self.weights_ = np.sqrt(X.shape[0]) * functions / np.sqrt(self.eigenvalues_)
        if self.n_layers == 2:
            self.thresholds_ = self._second_layer(X, masses)

    def _second_layer(self, X, masses):
        """Compute the thresholds.

        With the rows above zero marked by p and ``t = b+ + b-``, ``f = |y| - t p + b-``. Constants have no part in
        ``f'(I - A)f``, which gives t, and balance gives the rest.
        """
        weights = self.weights_[:, : self.n_bits // 2]

        def sums(Z):
            values = Z @ weights
            above, sizes = (values >= 0).astype(float), np.abs(values)
            return above.sum(axis=0), sizes.sum(axis=0), (sizes * above).sum(axis=0), Z.T @ above, Z.T @ sizes

        n_above, total, total_above, anchors_above, anchors_sizes = self._map.sum_over_rows(X, sums)
        shares = np.divide(anchors_above, masses[:, None], out=np.zeros_like(anchors_above), where=masses[:, None] > 0)
        roughness = n_above - np.einsum("ij,ij->j", shares, anchors_above)
        slope = total_above - np.einsum("ij,ij->j", shares, anchors_sizes)
        # A side that no row joins to the other has no roughness, and any t does.
        cut = roughness > _ROUNDING * X.shape[0]
        t = np.divide(slope, roughness, out=np.zeros_like(slope), where=cut)
        upper = (total + (X.shape[0] - n_above) * t) / X.shape[0]
        # Without t the threshold is the mean of |y|, where whole parts of the graph may lie; they belong above it.
        return np.stack([upper, t - upper]) + np.where(cut, 0, _EQUAL * upper) * [[-1], [1]]

    def _project_rows(self, X):
        values = self._map.describe(X) @ self.weights_.astype(X.dtype, copy=False)
        if self.n_layers == 1:
            return values
        upper, lower = self.thresholds_.astype(X.dtype, copy=False)
        twice = values[..., : len(upper)]
        return np.concatenate([values, np.where(twice >= 0, twice - upper, lower - twice)], axis=-1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
