"""The Hamming neighbour graph as a transformer, for scikit-learn's estimators with ``metric="precomputed"``."""

from numbers import Integral, Real

from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._sklearn import Interval, StrOptions, fit_context
from .._validation import check_count
from ..codes import check_codes
from ._hamming import HammingNearestNeighbors


class HammingNearestNeighborsTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn packed codes into a sparse graph of their Hamming neighbours.

    The graph goes into any estimator of scikit-learn that takes ``metric="precomputed"`` or
    ``affinity="precomputed_nearest_neighbors"``.

    Parameters
    ----------
    n_neighbors : int, default=5
        Number of neighbours of each row, when `radius` is None. As in
        :class:`sklearn.neighbors.KNeighborsTransformer`, ``mode="distance"`` gives one more, since a training code is
        its own neighbour.

    mode : {"distance", "connectivity"}, default="distance"
        Whether entries are distances in bits or ones.

    radius : float, default=None
        When given, the graph joins each row to all codes within this distance, in bits and inclusive, instead of a
        fixed number.

    n_jobs : int, default=None
        Number of threads; ``None`` means 1 unless in a :func:`joblib.parallel_config` context, ``-1`` all processors.

    Attributes
    ----------
    search_ : HammingNearestNeighbors
        The search fitted on the training codes.

    n_samples_fit_ : int
        Number of training codes.

    n_features_in_ : int
        Number of bytes of a code.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the byte columns, when `fit` got a data frame with string names.

    See Also
    --------
    HammingNearestNeighbors : The search itself.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from skhash import ITQ, HammingNearestNeighborsTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = make_pipeline(
    ...     ITQ(32, random_state=0),
    ...     HammingNearestNeighborsTransformer(n_neighbors=5),
    ...     KNeighborsClassifier(n_neighbors=5, metric="precomputed"),
    ... )
    >>> bool(classifier.fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > 0.8)
    True
    """

    _parameter_constraints: dict = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "mode": [StrOptions({"distance", "connectivity"})],
        "radius": [Interval(Real, 0, None, closed="left"), None],
        "n_jobs": [Integral, None],
    }

    def __init__(self, n_neighbors=5, *, mode="distance", radius=None, n_jobs=None):
        self.n_neighbors = n_neighbors
        self.mode = mode
        self.radius = radius
        self.n_jobs = n_jobs

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, codes, y=None):
        """Make codes the database of the graph.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_bytes)
            Packed codes.

        y : None
            Ignored, present for consistency with the API.

        Returns
        -------
        self : HammingNearestNeighborsTransformer
            Fitted transformer.

        Raises
        ------
        ValueError
            If `codes` are no packed codes.
        """
        check_codes(codes, name=type(self).__name__)
        self.search_ = HammingNearestNeighbors(n_jobs=self.n_jobs).fit(codes)
        self.n_samples_fit_ = self.search_.n_samples_fit_
        self.n_features_in_ = self.search_.n_features_in_
        if hasattr(self.search_, "feature_names_in_"):
            self.feature_names_in_ = self.search_.feature_names_in_
        return self

    def transform(self, codes):
        """Compute the graph from codes to the training codes.

        Parameters
        ----------
        codes : array-like of shape (n_queries, n_bytes)
            Packed codes.

        Returns
        -------
        graph : scipy.sparse.csr_matrix of shape (n_queries, n_samples_fit_)
            Entries of a row come by rising distance; zero distances are stored.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the transformer is not fitted.
        ValueError
            If `codes` are no packed codes of the training width, or there are fewer training codes than neighbours.
        """
        check_is_fitted(self)
        if codes is None:
            # The search would take its own codes, each without itself.
            raise TypeError(f"{type(self).__name__}: codes are None; pass packed codes.")
        if self.radius is not None:
            return self.search_.radius_neighbors_graph(codes, self.radius, mode=self.mode)
        n_neighbors = check_count(self.n_neighbors, name=f"{type(self).__name__}: n_neighbors") + (
            self.mode == "distance"
        )
        if n_neighbors > self.n_samples_fit_:
            limit = self.n_samples_fit_ - (self.mode == "distance")
            raise ValueError(
                f"{type(self).__name__}: n_neighbors={self.n_neighbors} must be <= {limit} for {self.n_samples_fit_} "
                f"training codes and mode={self.mode!r}; ask for fewer neighbours or fit more codes."
            )
        return self.search_.kneighbors_graph(codes, n_neighbors, mode=self.mode)

    @property
    def _n_features_out(self):
        return self.n_samples_fit_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = []
        return tags
