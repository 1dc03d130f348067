"""A pipeline whose last step searches."""

import threading
from numbers import Integral

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, check_memory

from ._sklearn import Interval, StrOptions
from ._validation import as_array, check_count, shown
from .codes import pack_bits
from .neighbors import HammingNearestNeighbors
from .neighbors._rerank import asymmetric_distances, euclidean_distances, nearest_candidates
from .neighbors._stored_vectors import StoredVectors

__all__ = ["RetrievalPipeline"]

# Candidates that are found and put in order at once.
_BLOCK_CANDIDATES = 2**20


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

    With `rescore`, the neighbours by Hamming distance are only a shortlist, which real-valued distances put in order.
    `score` and the scorers judge the codes, so `rescore` changes nothing there.

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

    rescore : {"asymmetric", "float"}, default=None
        How to put the shortlist in order. None: by Hamming distance. "asymmetric": by the magnitudes of the query's
        projections at the bits that differ, see :func:`skhash.neighbors.rerank_asymmetric`; the step before the search
        must be a hasher with the method `project`, whose signs are the bits. "float": by the Euclidean distance of the
        features that go into the step before the search, see :func:`skhash.neighbors.rerank_float`; `fit` and `add`
        then keep those of the database.

    n_candidates : int, default=200
        Length of the shortlist of `kneighbors` with `rescore`; `n_neighbors` if that is larger, and all items if there
        are fewer.

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

    features_ : StoredVectors of shape (n_samples_fit_, n_features)
        What goes into the step before the search, for each item of the database, if the pipeline was fitted with
        ``rescore="float"``: a :class:`numpy.memmap` as it came, which then has to stay unchanged, else a float32 copy.
        Read by a slice or an array of rows. Pickles hold the numbers of a memory map.

    See Also
    --------
    HammingNearestNeighbors : The search that usually is the last step.
    skhash.neighbors.rerank_asymmetric : Put a shortlist in order without a pipeline.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import ITQ, HammingNearestNeighbors, RetrievalPipeline
    >>> X, y = load_digits(return_X_y=True)
    >>> pipeline = RetrievalPipeline([("hash", ITQ(32, random_state=0)), ("search", HammingNearestNeighbors())])
    >>> distances, ids = pipeline.fit(X[:-10], y[:-10]).kneighbors(X[-10:], n_neighbors=3)
    >>> ids.shape
    (10, 3)

    Real-valued distances from the same codes:

    >>> distances, ids = pipeline.set_params(rescore="asymmetric").kneighbors(X[-10:], n_neighbors=3)
    >>> distances.dtype
    dtype('float64')
    """

    _parameter_constraints: dict = {
        **Pipeline._parameter_constraints,
        "rescore": [StrOptions({"asymmetric", "float"}), None],
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, steps, *, transform_input=None, memory=None, verbose=False, rescore=None, n_candidates=200):
        super().__init__(steps, transform_input=transform_input, memory=memory, verbose=verbose)
        self.rescore = rescore
        self.n_candidates = n_candidates

    def __getitem__(self, ind):
        """Return a step by name or position, or a pipeline of a slice of the steps.

        A slice that hashes and searches ranks as the whole pipeline does.
        """
        part = super().__getitem__(ind)
        if isinstance(ind, slice) and self.rescore is not None:
            kept = range(len(self.steps))[ind]
            if self._hasher_position() in kept and len(self.steps) - 1 in kept:
                part.rescore, part.n_candidates = self.rescore, self.n_candidates
                if hasattr(self, "_kept_features"):
                    part._kept_features = self._kept_features
        return part

    def fit(self, X, y=None, **params):
        """Fit the steps one after the other, and make the codes of `X` the database.

        Parameters
        ----------
        X : array-like
            Training data and database, input of the first step.

        y : array-like, default=None
            Labels, for steps that learn from them and for scores.

        **params : dict
            Parameters of the steps' `fit`, as ``step__parameter``; see :class:`sklearn.pipeline.Pipeline`.

        Returns
        -------
        self : RetrievalPipeline
            Fitted pipeline.

        Raises
        ------
        TypeError
            If the steps cannot do what `rescore` asks for.
        ValueError
            If a parameter is out of its range, a step refuses its input, or ``rescore="float"`` and the features that
            go into the step before the search are no finite matrix.
        """
        if self.rescore is not None:
            self._check_steps_that_rescore()
        self.__dict__.pop("_kept_features", None)
        if self.rescore != "float":
            return super().fit(X, y, **params)
        # scikit-learn calls each transformer through the memory, which so sees the features that the hasher gets.
        # Nothing else does without sending the data through all the steps before it again.
        memory = self.memory
        self.memory = recorder = _InputRecorder(check_memory(memory))
        try:
            super().fit(X, y, **params)
        finally:
            self.memory = memory
        name = f"{type(self).__name__}: features for step {self.steps[self._hasher_position()][0]!r}"
        self._kept_features = _KeptFeatures(
            StoredVectors(recorder.last_input, self._search._checked_database(), name=name)
        )
        return self

    @available_if(_final_step_has("kneighbors"))
    def kneighbors(self, X=None, n_neighbors=None, return_distance=True, **params):
        """Find the nearest neighbours of each query.

        Parameters
        ----------
        X : array-like, default=None
            Queries, input of the first step. Without them, the neighbours of each database item are returned, itself
            excluded; ``rescore="asymmetric"`` needs queries, as projections of the database are not kept.

        n_neighbors : int, default=None
            How many; the parameter of the last step when not given.

        return_distance : bool, default=True
            Whether to return the distances.

        **params : dict
            Further keywords of the last step's method, such as `where`.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), dtype int32
            Number of bits that differ; only if `return_distance`. With `rescore`, the asymmetric or the Euclidean
            distance instead, dtype float64.

        ids : ndarray of shape (n_queries, n_neighbors), dtype int64
            Names of the neighbours by rising distance. With `rescore`, equal distances come by Hamming distance, then
            by position.
        """
        if self.rescore is None:
            return self._search.kneighbors(self._hash(X), n_neighbors, return_distance, **params)
        distances, ids = self._rescored_kneighbors(X, n_neighbors, **params)
        return (distances, ids) if return_distance else ids

    @available_if(_final_step_has("radius_neighbors"))
    def radius_neighbors(self, X=None, radius=None, return_distance=True, **params):
        """Find all neighbours within a radius of each query.

        Parameters
        ----------
        X : array-like, default=None
            Queries, input of the first step. Without them, the neighbours of each database item are returned, itself
            excluded; ``rescore="asymmetric"`` needs queries, as projections of the database are not kept.

        radius : float, default=None
            Largest distance, in bits and inclusive; the parameter of the last step when not given. With `rescore`, the
            radius is still in bits and the same neighbours are found; only distances and order are others.

        return_distance : bool, default=True
            Whether to return the distances.

        **params : dict
            Further keywords of the last step's method, such as `where` and `sort_results`.

        Returns
        -------
        distances : ndarray of shape (n_queries,) of arrays, dtype int32
            Number of bits that differ; only if `return_distance`. With `rescore`, the asymmetric or the Euclidean
            distance instead, dtype float64.

        ids : ndarray of shape (n_queries,) of arrays, dtype int64
            Names of the neighbours.
        """
        if self.rescore is None:
            return self._search.radius_neighbors(self._hash(X), radius, return_distance, **params)
        distances, ids = self._rescored_radius_neighbors(X, radius, **params)
        return (distances, ids) if return_distance else ids

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
        check_is_fitted(self)
        if not hasattr(self, "_kept_features"):
            self._search.add(self._hash(X), y, **params)
            return self
        features = self._features(X)
        # Refused features must not leave codes behind.
        vectors = self.features_.check(features)
        codes = self._hasher.transform(features)
        with self._kept_features.lock:
            kept = self._aligned_features()
            self._search.add(codes, y, **params)
            self._kept_features.vectors = kept.extended(vectors, self._search._checked_database())
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
        if not hasattr(self, "_kept_features"):
            self._search.remove(ids)
            return self
        with self._kept_features.lock:
            kept, ids_before = self._aligned_features(), self._search.ids_
            self._search.remove(ids)
            removed = np.isin(ids_before, self._search.ids_, invert=True)
            self._kept_features.vectors = kept.without(removed, self._search._checked_database())
        return self

    @property
    def features_(self):
        return self._kept_features.vectors

    @property
    def _search(self):
        return self.steps[-1][1]

    @property
    def _hasher(self):
        return self.steps[self._hasher_position()][1]

    def _hasher_position(self):
        """Return the place of the last transformer before the search, or None."""
        for position in reversed(range(len(self.steps) - 1)):
            if self.steps[position][1] not in (None, "passthrough"):
                return position
        return None

    def _hash(self, X):
        """Send X through all steps but the last; None, which stands for the database, stays None."""
        check_is_fitted(self)
        if X is None:
            return None
        return self[:-1].transform(X) if len(self.steps) > 1 else X

    def _features(self, X):
        """Send X through all steps before the hasher."""
        position = self._hasher_position()
        return self[:position].transform(X) if position > 0 else X

    def _rescored_kneighbors(self, X, n_neighbors, *, where=None):
        database, items = self._database_and_items()
        owner = type(self).__name__
        n_neighbors = check_count(
            self._search.n_neighbors if n_neighbors is None else n_neighbors, name=f"{owner}: n_neighbors"
        )
        n_candidates = check_count(self.n_candidates, name=f"{owner}: n_candidates")
        # The search itself refuses more neighbours than there are items.
        n_candidates = max(n_neighbors, min(n_candidates, _n_searched(database, where) - (X is None)))
        codes, queries = self._codes_and_queries(X, items)
        found = []
        for block, rows in self._shortlists(database, codes, len(queries), n_candidates, where):
            distances = self._compare(queries[block], items, np.full(len(rows), n_candidates), rows.ravel())
            found.append(nearest_candidates(distances.reshape(rows.shape), rows, n_neighbors))
        distances, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return distances, database.ids_of(rows)

    def _rescored_radius_neighbors(self, X, radius, *, where=None, sort_results=True):
        database, items = self._database_and_items()
        codes, queries = self._codes_and_queries(X, items)
        counts, _, rows = self._search._radius_neighbors(database, codes, radius, where, sort_results)
        distances = self._compare(queries, items, counts, rows)
        if sort_results:
            order = np.lexsort((distances, np.repeat(np.arange(len(counts)), counts)))
            distances, rows = distances[order], rows[order]
        return _one_array_a_query(distances, counts), _one_array_a_query(database.ids_of(rows), counts)

    def _shortlists(self, database, codes, n_queries, n_candidates, where):
        """Yield blocks of queries, each with the rows of its candidates by Hamming distance."""
        block_size = max(1, _BLOCK_CANDIDATES // n_candidates)
        blocks = [slice(start, start + block_size) for start in range(0, n_queries, block_size)]
        if codes is None:
            _, rows = self._search._kneighbors(database, None, n_candidates, where)
            for block in blocks:
                yield block, rows[block]
            return
        for block in blocks:
            yield block, self._search._kneighbors(database, codes[block], n_candidates, where)[1]

    def _database_and_items(self):
        """Return the database as it is now, and what queries are compared with: its codes or features, row by row."""
        check_is_fitted(self)
        owner = type(self).__name__
        if not isinstance(self.rescore, str) or self.rescore not in ("asymmetric", "float"):
            raise ValueError(f"{owner}: rescore={shown(self.rescore)} must be 'asymmetric', 'float' or None.")
        self._check_steps_that_rescore()
        if self.rescore == "asymmetric":
            database = self._search._checked_database()
            return database, self._codes_of(database)
        if not hasattr(self, "_kept_features"):
            raise ValueError(
                f"{owner}: rescore='float' needs features of the database, which fit only keeps with rescore='float'; "
                "call fit again."
            )
        features = self.features_
        if features.database is not self._search._checked_database():
            # Another thread may be halfway through a change.
            with self._kept_features.lock:
                features = self._aligned_features()
        return features.database, features

    def _codes_of(self, database):
        """Return codes row by row; the search may keep them in another order only."""
        kept_for, codes = self.__dict__.get("_kept_codes", (None, None))
        if kept_for is not database.engine:
            codes = database.engine.codes()
            self._kept_codes = database.engine, codes
        return codes

    def __getstate__(self):
        # The codes of the search are enough.
        return {name: value for name, value in super().__getstate__().items() if name != "_kept_codes"}

    def _aligned_features(self):
        """Return the features of the database, unless its codes were changed behind the pipeline."""
        features = self.features_
        if features.database is not self._search._checked_database():
            raise ValueError(
                f"{type(self).__name__}: the codes of the last step are no longer those that features were kept for; "
                "fit, add and remove through the pipeline."
            )
        return features

    def _codes_and_queries(self, X, items):
        """Return codes to search with, and what is compared with the items; no codes stand for the database."""
        if X is None:
            if self.rescore == "asymmetric":
                raise ValueError(
                    f"{type(self).__name__}: rescore='asymmetric' needs queries, as projections of the database are "
                    "not kept; pass X, or use rescore='float' or None."
                )
            return None, items
        features = self._features(X)
        if self.rescore == "float":
            return self._hasher.transform(features), items.check(features)
        projections = np.asarray(self._hasher.project(features))
        # Frames carry names that the search compares, and only `transform` makes frames. Otherwise a second projection
        # is saved, which may be a network's.
        with_names = hasattr(self._search, "feature_names_in_")
        return self._hasher.transform(features) if with_names else pack_bits(projections >= 0), projections

    def _compare(self, queries, items, counts, rows):
        distances = asymmetric_distances if self.rescore == "asymmetric" else euclidean_distances
        return distances(queries, items, counts, rows, name=type(self).__name__)

    def _check_steps_that_rescore(self):
        owner = type(self).__name__
        name, search = self.steps[-1]
        if not isinstance(search, HammingNearestNeighbors):
            raise TypeError(
                f"{owner}: rescore={self.rescore!r} needs a HammingNearestNeighbors as the last step, but {name!r} is "
                f"{_describe(search)}."
            )
        position = self._hasher_position()
        if position is None:
            raise TypeError(
                f"{owner}: rescore={self.rescore!r} needs a hasher before the step {name!r}, but there is none; add "
                "one, or put shortlists in order with the functions of skhash.neighbors."
            )
        name, hasher = self.steps[position]
        if self.rescore == "asymmetric" and not hasattr(hasher, "project"):
            raise TypeError(
                f"{owner}: rescore='asymmetric' needs a hasher with the method project before the search, but step "
                f"{name!r} is {_describe(hasher)}; use a hasher of skhash.hashers, or rescore='float'."
            )


class _KeptFeatures:
    """The features of a database, which a pipeline shares with its slices.

    Parameters
    ----------
    vectors : StoredVectors
        Exchanged whenever the database is.

    Attributes
    ----------
    lock : threading.Lock
        Held while codes and features are exchanged.
    """

    def __init__(self, vectors):
        self.vectors = vectors
        self.lock = threading.Lock()

    def __getstate__(self):
        return {"vectors": self.vectors}

    def __setstate__(self, state):
        self.__init__(state["vectors"])


class _InputRecorder:
    """A memory that passes everything on, and keeps the input of the transformer that was fitted last.

    Parameters
    ----------
    memory : object with the joblib.Memory interface
        The memory to use.

    Attributes
    ----------
    last_input : array-like
        The data that the last call got.
    """

    def __init__(self, memory):
        self._memory = memory

    @property
    def location(self):
        return self._memory.location

    def cache(self, function, **options):
        cached = self._memory.cache(function, **options)

        def fit_transform(transformer, X, *args, **kwargs):
            self.last_input = X
            return cached(transformer, X, *args, **kwargs)

        return fit_transform


def _n_searched(database, where):
    """Return the number of items that a search looks at."""
    if where is None:
        return database.engine.n_samples
    where = as_array(where, name="where")
    return np.count_nonzero(where) if where.dtype == bool else where.size


def _describe(step):
    return repr(step) if step is None or isinstance(step, str) else f"a {type(step).__name__}"


def _one_array_a_query(values, counts):
    """Cut an array into an object array of one array a query."""
    parts = np.empty(len(counts), dtype=object)
    stops = np.cumsum(counts)
    for query, (start, stop) in enumerate(zip(stops - counts, stops, strict=True)):
        parts[query] = values[start:stop]
    return parts
