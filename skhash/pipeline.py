"""A pipeline whose last step searches."""

from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

__all__ = ["RetrievalPipeline"]


def _final_step_has(method):
    """Make a method available exactly when the last step has it, as scikit-learn's own pipeline methods are."""

    def check(pipeline):
        getattr(pipeline.steps[-1][1], method)
        return True

    return check


class RetrievalPipeline(Pipeline):
    """A :class:`sklearn.pipeline.Pipeline` that also delegates search to its last step.

    Images or features go through all steps but the last, and the codes that come out are searched, added or removed
    there. Everything else (parameters by ``step__name``, caching by `memory`, slicing, ``GridSearchCV``) is
    scikit-learn's. Labels given to `fit` reach the last step and are what the scorers of :mod:`skhash.metrics`
    compare with; ids go in as ``pipeline.fit(X, y, search__ids=ids)`` if the last step is called "search".

    Parameters
    ----------
    steps : list of (str, estimator) tuples
        Transformers, and a search such as :class:`skhash.HammingNearestNeighbors` as the last step.

    transform_input : list of str, default=None
        Names of metadata that the steps should transform, see :class:`sklearn.pipeline.Pipeline`.

    memory : str or object with the joblib.Memory interface, default=None
        Where to cache fitted transformers.

    verbose : bool, default=False
        Whether to print the time that each step takes to fit.

    Attributes
    ----------
    named_steps : sklearn.utils.Bunch
        Steps by name.

    classes_ : ndarray of shape (n_classes,)
        Classes of the last step, if it has any.

    n_features_in_ : int
        Number of features that the first step saw, if it counts them.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features that the first step saw, if it has them.

    See Also
    --------
    HammingNearestNeighbors : The search that usually is the last step.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import ITQ, HammingNearestNeighbors, RetrievalPipeline
    >>> X, y = load_digits(return_X_y=True)
    >>> pipeline = RetrievalPipeline([("hash", ITQ(32, random_state=0)), ("search", HammingNearestNeighbors())])
    >>> distances, ids = pipeline.fit(X[:-10], y[:-10]).kneighbors(X[-10:], n_neighbors=3)
    >>> ids.shape
    (10, 3)
    """

    @available_if(_final_step_has("kneighbors"))
    def kneighbors(self, X=None, n_neighbors=None, return_distance=True, **params):
        """Find the nearest neighbours of each query.

        Parameters
        ----------
        X : array-like, default=None
            Queries, input of the first step. Without them, the neighbours of each database item are returned, itself
            excluded.

        n_neighbors : int, default=None
            How many; the parameter of the last step when not given.

        return_distance : bool, default=True
            Whether to return the distances.

        **params : dict
            Further keywords of the last step's method, such as `where`.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), dtype int32
            Number of bits that differ; only if `return_distance`.

        ids : ndarray of shape (n_queries, n_neighbors), dtype int64
            Names of the neighbours.
        """
        return self.steps[-1][1].kneighbors(self._hash(X), n_neighbors, return_distance, **params)

    @available_if(_final_step_has("radius_neighbors"))
    def radius_neighbors(self, X=None, radius=None, return_distance=True, **params):
        """Find all neighbours within a radius of each query.

        Parameters
        ----------
        X : array-like, default=None
            Queries, input of the first step. Without them, the neighbours of each database item are returned, itself
            excluded.

        radius : float, default=None
            Largest distance, in bits and inclusive; the parameter of the last step when not given.

        return_distance : bool, default=True
            Whether to return the distances.

        **params : dict
            Further keywords of the last step's method, such as `where` and `sort_results`.

        Returns
        -------
        distances : ndarray of shape (n_queries,) of arrays, dtype int32
            Number of bits that differ; only if `return_distance`.

        ids : ndarray of shape (n_queries,) of arrays, dtype int64
            Names of the neighbours.
        """
        return self.steps[-1][1].radius_neighbors(self._hash(X), radius, return_distance, **params)

    @available_if(_final_step_has("add"))
    def add(self, X, y=None, **params):
        """Hash new items and append them to the database.

        Parameters
        ----------
        X : array-like
            Items, input of the first step.

        y : array-like, default=None
            Labels; needed exactly when `fit` got labels.

        **params : dict
            Further keywords of the last step's method, such as `ids`.

        Returns
        -------
        self : RetrievalPipeline
            With the longer database; no step is fitted again.
        """
        self.steps[-1][1].add(self._hash(X), y, **params)
        return self

    @available_if(_final_step_has("remove"))
    def remove(self, ids):
        """Remove items from the database.

        Parameters
        ----------
        ids : int or array-like of int
            Names of the items to remove.

        Returns
        -------
        self : RetrievalPipeline
            With the shorter database.
        """
        self.steps[-1][1].remove(ids)
        return self

    def _hash(self, X):
        """Send X through all steps but the last; None, which stands for the database, stays None."""
        check_is_fitted(self)
        if X is None:
            return None
        return self[:-1].transform(X) if len(self.steps) > 1 else X
