"""Inductive manifold hashing."""

from numbers import Integral

import numpy as np
from sklearn.manifold import TSNE
from sklearn.utils import check_random_state

from .._sklearn import Interval, StrOptions
from ._anchors import AnchorMap, nearest_anchor_weights, neighbour_width, smoothest_functions
from ._base import BaseHasher
from ._blocks import single_threaded_blas

# Neighbours of an anchor in the graph of anchors.
_GRAPH_NEIGHBOURS = 20


class InductiveManifoldHash(BaseHasher):
    r"""Hash with a manifold embedding of cluster centres, extended to rows by kernel weights.

    Embeds :math:`m` cluster centres :math:`c_j` in as many dimensions as there are bits, by t-SNE or Laplacian
    eigenmaps, and gives a row the weighted mean of what its :math:`k` nearest centres were given,

    .. math:: y(x) = \frac{\sum_{j \in N_k(x)} w(x, c_j) y_j}{\sum_{j \in N_k(x)} w(x, c_j)}, \qquad
              w(x, c) = \exp\left(-\frac{\lVert x - c \rVert^2}{2 \sigma^2}\right).

    The bits are the signs of :math:`y(x) - \bar{y}`, with the mean :math:`\bar{y}` over the training rows.

    Parameters
    ----------
    n_bits : int, default=32
        Code length, less than the number of different anchors.

    embedding : {"spectral", "tsne"}, default="spectral"
        How the centres are embedded: by Laplacian eigenmaps or by t-SNE, IMH-LE and IMH-tSNE in the paper.

    n_anchors : int, default=400
        Number of cluster centres. Fewer rows give as many as there are rows.

    n_nearest : int, default=5
        Centres that a row is described by, :math:`k`; all of them where there are fewer.

    random_state : int, RandomState instance or None, default=None
        Seed of the clustering and of the start of t-SNE.

    Attributes
    ----------
    anchors_ : ndarray of shape (n_anchors_, n_features)
        Cluster centres.

    n_anchors_ : int
        Number of different centres.

    width_ : float
        The :math:`\sigma` of the kernel.

    embedding_ : ndarray of shape (n_anchors_, n_bits)
        Embedded centres less the mean of the embedded training rows, :math:`y_j - \bar{y}`.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    AnchorGraphHash : Eigenvectors of a graph of all rows instead of the anchors alone.

    Notes
    -----
    t-SNE is scikit-learn's with ``method="exact"``, because Barnes-Hut trees are limited to 3 dimensions; it takes
    perplexity 30, or a third of the other centres where these are few, and a random start, since a start from principal
    components would need as many features as bits. Its Student t-distribution has ``n_bits - 1`` degrees of freedom, at
    least 1, where the original t-SNE has 1 for any number of dimensions. The paper prefers t-SNE; the default here is
    the embedding that ranked images of digits better, and takes a twentieth of the time.

    Laplacian eigenmaps use the graph that joins each centre with its 20 nearest by kernel weights that sum to 1, made
    symmetric, and the normalised Laplacian; the paper adds a term of the training rows to the Laplacian, which makes it
    close to `AnchorGraphHash`. As in the authors' code, :math:`2 \sigma^2` is the square of the mean distance to the
    :math:`k`-th nearest centre.

    References
    ----------
    F. Shen, C. Shen, Q. Shi, A. van den Hengel and Z. Tang, "Inductive hashing on manifolds", CVPR 2013.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import InductiveManifoldHash
    >>> X, _ = load_digits(return_X_y=True)
    >>> hasher = InductiveManifoldHash(n_bits=16, random_state=0).fit(X)
    >>> hasher.transform(X[:1]).shape
    (1, 2)
    """

    _parameter_constraints: dict = {
        **BaseHasher._parameter_constraints,
        "embedding": [StrOptions({"spectral", "tsne"})],
        "n_anchors": [Interval(Integral, 2, None, closed="left")],
        "n_nearest": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, n_bits=32, *, embedding="spectral", n_anchors=400, n_nearest=5, random_state=None):
        self.n_bits = n_bits
        self.embedding = embedding
        self.n_anchors = n_anchors
        self.n_nearest = n_nearest
        self.random_state = random_state

    def _fit(self, X, y):
        random = check_random_state(self.random_state)
        self._map = AnchorMap.from_rows(self, X, self.n_anchors, self.n_nearest, random)
        self.anchors_, self.n_anchors_, self.width_ = self._map.anchors, len(self._map.anchors), self._map.width
        if self.n_bits >= self.n_anchors_:
            raise ValueError(
                f"InductiveManifoldHash: n_bits={self.n_bits} must be <= {self.n_anchors_ - 1}, one less than the "
                f"number of different anchors; use fewer bits, or more anchors (n_anchors={self.n_anchors}) and rows "
                f"(n_samples={X.shape[0]})."
            )
        embed = self._tsne if self.embedding == "tsne" else self._eigenmaps
        embedded = embed(self.anchors_, random)
        (masses,) = self._map.sum_over_rows(X, lambda Z: (Z.sum(axis=0),))
        # Weights sum to 1, so what is taken from all centres is taken from every row.
        self.embedding_ = embedded - masses @ embedded / X.shape[0]

    def _tsne(self, anchors, random):
        tsne = TSNE(
            self.n_bits,
            perplexity=min(30, (self.n_anchors_ - 1) / 3),
            init="random",
            method="exact",
            random_state=random.randint(2**31 - 1),
        )
        with single_threaded_blas():
            return tsne.fit_transform(anchors).astype(np.float64)

    def _eigenmaps(self, anchors, random):
        n_nearest = min(_GRAPH_NEIGHBOURS, self.n_anchors_)
        with single_threaded_blas():
            width = neighbour_width(anchors, anchors, n_nearest, random)
            weights = nearest_anchor_weights(anchors, anchors, n_nearest, width)
        return smoothest_functions(weights + weights.T, anchors, self.n_bits)[1]

    def _project_rows(self, X):
        return self._map.describe(X) @ self.embedding_.astype(X.dtype, copy=False)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
