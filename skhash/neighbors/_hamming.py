"""Nearest neighbours of binary codes."""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .._checked_map import CheckedMap
from .._memory import check_allocation, refusal
from .._sklearn import Interval, StrOptions, fit_context
from .._validation import as_array, check_names, shown
from ..codes import check_codes
from ..metrics import mean_average_precision
from ..metrics._labels import check_labels
from ._engine import SearchEngine, count_rows
from ._hits import BYTES_PER_HIT, TooManyHits
from ._ids import check_distinct, check_ids, check_unused, rows_of_ids

_LARGEST_RADIUS = 2**31


class _Database(NamedTuple):
    """Codes, ids and labels that belong together; exchanged as one, so that searches never see half of a change."""

    engine: SearchEngine
    # None while they are the numbers of the rows, to save their memory.
    ids: np.ndarray | CheckedMap | None
    labels: np.ndarray | CheckedMap | None

    def ids_of(self, rows):
        return rows if self.ids is None else self.ids[rows]

    def rows_of(self, ids, *, owner):
        return rows_of_ids(ids, self.ids, self.engine.n_samples, owner=owner)

    def all_ids(self):
        return np.arange(self.engine.n_samples) if self.ids is None else np.asarray(self.ids)

    def all_labels(self):
        return None if self.labels is None else np.asarray(self.labels)

    def extended(self, codes, ids, labels):
        """Return a database with more codes; `ids` of None are the numbers of their rows."""
        ids = self.ids if ids is None else np.concatenate([self.all_ids(), ids])
        labels = self.labels if labels is None else np.concatenate([self.all_labels(), labels])
        return _Database(self.engine.extended(codes), ids, labels)

    def without(self, rows):
        """Return a database with fewer codes."""
        labels = None if self.labels is None else np.delete(self.all_labels(), rows, axis=0)
        return _Database(self.engine.without(rows), np.delete(self.all_ids(), rows), labels)


class HammingNearestNeighbors(BaseEstimator):
    """Find the database codes nearest to query codes in Hamming distance.

    The search is exact. Neighbours come by rising distance, and those at equal distance by rising position, the order
    in which codes were added; that order survives removals.

    Parameters
    ----------
    n_neighbors : int, default=5
        Number of neighbours that `kneighbors` returns by default.

    radius : float, default=2
        Largest distance, in bits and inclusive, that `radius_neighbors` uses by default.

    algorithm : {"auto", "brute", "mih"}, default="auto"
        How to search; all give the same answers. "brute" compares a query with every code. "mih" looks substrings of
        the query up in tables (multi-index hashing), which pays for clustered codes in large databases; a query that
        takes longer that way than a quarter of an exhaustive search is searched exhaustively after all. "auto" builds
        the tables when searches so far have taken as long as that, if it is predicted to pay.

    n_jobs : int, default=None
        Number of threads; ``None`` means 1 unless in a :func:`joblib.parallel_config` context, ``-1`` all processors.

    Attributes
    ----------
    codes_ : ndarray of shape (n_samples_fit_, n_bytes), dtype uint8
        The database, in order of adding. Large databases are kept in the order of bits that searching is fast in, so
        that each access reads the codes back into a new array.

    labels_ : ndarray of shape (n_samples_fit_,) or (n_samples_fit_, n_labels), or None
        Labels of the database, when given.

    ids_ : ndarray of shape (n_samples_fit_,), dtype int64
        Names of the database codes.

    n_samples_fit_ : int
        Number of codes in the database.

    n_features_in_ : int
        Number of bytes of a code.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the byte columns, when `fit` got a data frame with string names.

    See Also
    --------
    HammingNearestNeighborsTransformer : The same search as a graph for scikit-learn's estimators.

    Examples
    --------
    >>> from skhash import HammingNearestNeighbors
    >>> search = HammingNearestNeighbors(n_neighbors=2).fit([[0b0000], [0b0111], [0b0001]])
    >>> distances, ids = search.kneighbors([[0b0011]])
    >>> distances
    array([[1, 1]], dtype=int32)
    >>> ids
    array([[1, 2]])
    """

    _parameter_constraints: dict = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "radius": [Interval(Real, 0, None, closed="left")],
        "algorithm": [StrOptions({"auto", "brute", "mih"})],
        "n_jobs": [Integral, None],
    }

    def __init__(self, n_neighbors=5, *, radius=2, algorithm="auto", n_jobs=None):
        self.n_neighbors = n_neighbors
        self.radius = radius
        self.algorithm = algorithm
        self.n_jobs = n_jobs

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, codes, y=None, *, ids=None):
        """Make codes the database.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_bytes)
            Packed codes: uint8, or integers from 0 to 255 of another dtype. They are copied, except a
            :class:`numpy.memmap` of more than 8 MiB, which each search reads where it lies: its file has to stay as it
            is. Add further chunks with `add`.

        y : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            Labels, only needed for `score` and the scorers of :mod:`skhash.metrics`.

        ids : array-like of int of shape (n_samples,), default=None
            Distinct names that searches return; by default the positions 0, 1, 2 and so on.

        Returns
        -------
        self : HammingNearestNeighbors
            Fitted search.

        Raises
        ------
        TypeError
            If `codes` or `ids` have a wrong dtype.
        ValueError
            If `codes` are no packed codes, an id occurs twice, or lengths differ.
        """
        codes = self._check_codes(codes, reset=True)
        labels = self._check_labels(y, len(codes))
        ids_given = ids is not None
        ids = self._check_new_ids(ids, len(codes)) if ids_given else None
        self._ids_given, self._n_added = ids_given, len(codes)
        self._database = _Database(SearchEngine.of(codes), ids, labels)
        return self

    def add(self, codes, y=None, *, ids=None):
        """Append codes to the database.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_bytes)
            Packed codes of the width of the database.

        y : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            Labels; needed exactly when `fit` got labels.

        ids : array-like of int of shape (n_samples,), default=None
            Names that are not in use; needed exactly when `fit` got ids. The default goes on counting positions,
            those of removed codes included.

        Returns
        -------
        self : HammingNearestNeighbors
            With the longer database.

        Raises
        ------
        TypeError
            If `codes` or `ids` have a wrong dtype.
        ValueError
            If `codes` have another width, an id is in use or occurs twice, or labels or ids are given here but not
            in `fit` or the other way round.
        """
        database = self._checked_database()
        codes = self._check_codes(codes, reset=False)
        labels, ids = self._check_names(len(codes), y, ids)
        n_added = self._n_added + len(codes)
        if self._ids_given:
            check_unused(ids, database.ids, owner=type(self).__name__)
        elif database.ids is not None:
            ids = np.arange(self._n_added, n_added)
        self._n_added, self._database = n_added, database.extended(codes, ids, labels)
        return self

    def remove(self, ids):
        """Remove codes from the database.

        Parameters
        ----------
        ids : int or array-like of int
            Names of the codes to remove.

        Returns
        -------
        self : HammingNearestNeighbors
            With the shorter database; the order of the rest is unchanged.

        Raises
        ------
        TypeError
            If `ids` are no integers.
        ValueError
            If an id is not in the database or occurs twice.
        """
        database = self._checked_database()
        owner = type(self).__name__
        ids = check_ids(ids, owner=owner)
        check_distinct(ids, owner=owner)
        self._database = database.without(database.rows_of(ids, owner=owner))
        return self

    def kneighbors(self, codes=None, n_neighbors=None, return_distance=True, *, where=None):
        """Find the nearest database codes of each query.

        Parameters
        ----------
        codes : array-like of shape (n_queries, n_bytes), default=None
            Query codes. Without them, the neighbours of each database code are returned, itself excluded.

        n_neighbors : int, default=None
            How many; the parameter of the estimator when not given.

        return_distance : bool, default=True
            Whether to return the distances.

        where : array-like of shape (n_samples_fit_,), dtype bool, or array-like of int, default=None
            Restricts the search to the database codes at which a mask is true, or which these ids name.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), dtype int32
            Number of bits that differ, rising along each row; only if `return_distance`.

        ids : ndarray of shape (n_queries, n_neighbors), dtype int64
            Names of the neighbours; equal distances come by rising position.

        Raises
        ------
        MemoryError
            If the result, or what is kept while it is made, needs more memory than is left.
        sklearn.exceptions.NotFittedError
            If the search is not fitted.
        TypeError
            If `n_neighbors` is not an integer.
        ValueError
            If `codes` are no packed codes of the database's width, or fewer than `n_neighbors` codes can be found.
        """
        database = self._checked_database()
        distances, rows = self._kneighbors(database, codes, n_neighbors, where)
        ids = database.ids_of(rows)
        return (distances, ids) if return_distance else ids

    def radius_neighbors(self, codes=None, radius=None, return_distance=True, *, where=None, sort_results=True):
        """Find all database codes within a radius of each query.

        Parameters
        ----------
        codes : array-like of shape (n_queries, n_bytes), default=None
            Query codes. Without them, the neighbours of each database code are returned, itself excluded.

        radius : float, default=None
            Largest distance, in bits and inclusive; the parameter of the estimator when not given.

        return_distance : bool, default=True
            Whether to return the distances.

        where : array-like of shape (n_samples_fit_,), dtype bool, or array-like of int, default=None
            Restricts the search to the database codes at which a mask is true, or which these ids name.

        sort_results : bool, default=True
            Whether neighbours come by rising distance, ties by position; otherwise by position.

        Returns
        -------
        distances : ndarray of shape (n_queries,) of arrays, dtype int32
            Number of bits that differ; only if `return_distance`.

        ids : ndarray of shape (n_queries,) of arrays, dtype int64
            Names of the neighbours.

        Raises
        ------
        MemoryError
            If the result, or what is kept while it is made, needs more memory than is left.
        sklearn.exceptions.NotFittedError
            If the search is not fitted.
        ValueError
            If `codes` are no packed codes of the database's width, or `radius` is negative.
        """
        database = self._checked_database()
        counts, distances, rows = self._radius_neighbors(database, codes, radius, where, sort_results)
        ids = _split(database.ids_of(rows), counts)
        return (_split(distances, counts), ids) if return_distance else ids

    def kneighbors_graph(self, codes=None, n_neighbors=None, mode="connectivity"):
        """Compute the graph of nearest neighbours.

        Parameters
        ----------
        codes : array-like of shape (n_queries, n_bytes), default=None
            Query codes. Without them, each database code is joined to its neighbours, itself excluded.

        n_neighbors : int, default=None
            How many; the parameter of the estimator when not given.

        mode : {"connectivity", "distance"}, default="connectivity"
            Whether entries are ones or distances; distances of zero are stored.

        Returns
        -------
        graph : scipy.sparse.csr_matrix of shape (n_queries, n_samples_fit_)
            Columns are the rows of ``codes_``; entries of a row come by rising distance.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the search is not fitted.
        ValueError
            As in `kneighbors`, or if `mode` is unknown.
        """
        self._check_mode(mode)
        database = self._checked_database()
        distances, rows = self._kneighbors(database, codes, n_neighbors, where=None)
        counts = np.full(len(rows), rows.shape[1])
        return _graph(counts, distances.ravel(), rows.ravel(), mode, database.engine.n_samples)

    def radius_neighbors_graph(self, codes=None, radius=None, mode="connectivity", sort_results=True):
        """Compute the graph of neighbours within a radius.

        Parameters
        ----------
        codes : array-like of shape (n_queries, n_bytes), default=None
            Query codes. Without them, each database code is joined to its neighbours, itself excluded.

        radius : float, default=None
            Largest distance, in bits and inclusive; the parameter of the estimator when not given.

        mode : {"connectivity", "distance"}, default="connectivity"
            Whether entries are ones or distances; distances of zero are stored.

        sort_results : bool, default=True
            Whether entries of a row come by rising distance, ties by position; otherwise by position.

        Returns
        -------
        graph : scipy.sparse.csr_matrix of shape (n_queries, n_samples_fit_)
            Columns are the rows of ``codes_``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the search is not fitted.
        ValueError
            As in `radius_neighbors`, or if `mode` is unknown.
        """
        self._check_mode(mode)
        database = self._checked_database()
        counts, distances, rows = self._radius_neighbors(database, codes, radius, None, sort_results)
        return _graph(counts, distances, rows, mode, database.engine.n_samples)

    def score(self, codes, y):
        """Compute the tie-aware mean average precision of queries against the database.

        Parameters
        ----------
        codes : array-like of shape (n_queries, n_bytes)
            Query codes.

        y : array-like of shape (n_queries,) or (n_queries, n_labels)
            Labels of the queries.

        Returns
        -------
        score : float
            From 0 to 1, over the full ranking; see :func:`skhash.metrics.mean_average_precision`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the search is not fitted.
        ValueError
            If the database has no labels.
        """
        engine, _, labels = self._checked_database()
        if labels is None:
            raise ValueError(f"{type(self).__name__}: score needs labels of the database; pass y to fit.")
        return mean_average_precision(self._check_codes(codes, reset=False), engine.codes(), y, labels)

    @property
    def codes_(self):
        return self._checked_database().engine.codes()

    @property
    def labels_(self):
        return self._checked_database().all_labels()

    @property
    def ids_(self):
        return self._checked_database().all_ids()

    @property
    def n_samples_fit_(self):
        return self._checked_database().engine.n_samples

    def _checked_database(self):
        """Take the database as it is now, which a search keeps to while other threads add or remove codes."""
        # scikit-learn's check takes longer than a search, so it is left for the message.
        if "_database" not in self.__dict__:
            check_is_fitted(self, "_database")
        return self._database

    def _kneighbors(self, database, codes, n_neighbors, where):
        """Return distances and rows of the database, each of shape (n_queries, n_neighbors)."""
        engine = database.engine
        n_neighbors = self._check_n_neighbors(self.n_neighbors if n_neighbors is None else n_neighbors)
        candidates = self._candidate_rows(database, where)
        queries = engine.codes() if codes is None else self._check_codes(codes, reset=False)
        without_self = codes is None
        self._check_enough(n_neighbors, engine.n_samples, candidates, without_self)
        check_allocation(
            type(self).__name__,
            BYTES_PER_HIT * len(queries) * (n_neighbors + without_self),
            f"the result of {len(queries):,} queries and n_neighbors={n_neighbors:,}",
            "ask for fewer neighbours, or for fewer queries at a time",
        )
        distances, rows = engine.nearest(
            queries, n_neighbors + without_self, rows=candidates, n_jobs=self.n_jobs, algorithm=self.algorithm
        )
        return _drop_self(distances, rows) if without_self else (distances, rows)

    def _radius_neighbors(self, database, codes, radius, where, sort_results):
        """Return counts for each query, and the distances and rows of all neighbours one after the other."""
        engine = database.engine
        radius = self._check_radius(self.radius if radius is None else radius)
        candidates = self._candidate_rows(database, where)
        queries = engine.codes() if codes is None else self._check_codes(codes, reset=False)
        try:
            counts, distances, rows = engine.within_radius(
                queries, radius, rows=candidates, n_jobs=self.n_jobs, algorithm=self.algorithm
            )
        except TooManyHits as error:
            what = f"a radius of {radius}, in which {len(queries)} queries have more than {error.n_hits:,} neighbours"
            fix = "ask for a smaller radius, or for fewer queries at a time"
            message = refusal(type(self).__name__, error.n_bytes, what, fix, error.available, error.limit)
            raise MemoryError(message) from None
        if codes is None:
            owners = np.repeat(np.arange(len(counts)), counts)
            others = rows != owners
            distances, rows, owners = distances[others], rows[others], owners[others]
            counts = np.bincount(owners, minlength=len(counts))
        if not sort_results:
            order = np.lexsort((rows, np.repeat(np.arange(len(counts)), counts)))
            distances, rows = distances[order], rows[order]
        return counts, distances, rows

    def _candidate_rows(self, database, where):
        """Turn a mask or ids into rising rows of the database, or a mask of them; None for all."""
        if where is None:
            return None
        where = as_array(where, name=f"{type(self).__name__}: where")
        if where.dtype != bool:
            owner = type(self).__name__
            ids = check_ids(where, owner=owner, name="where")
            # A mask of zeros and ones would be read as the ids 0 and 1.
            check_distinct(ids, owner=f"{owner}: where, which takes ids or a mask of dtype bool")
            return np.sort(database.rows_of(ids, owner=owner))
        if where.shape != (database.engine.n_samples,):
            raise ValueError(
                f"{type(self).__name__}: where is a mask of shape {where.shape}, the database has "
                f"{database.engine.n_samples} codes; pass one boolean a code, in the order of ids_."
            )
        # The numbers of the rows would be eight times the size of the mask.
        return where if database.engine.is_read_from_map else np.flatnonzero(where)

    def _check_codes(self, codes, *, reset):
        # Names of columns come first: a frame with the wrong ones may well hold NaN.
        if hasattr(codes, "columns"):
            check_names(self, codes, reset=reset)
        checked = check_codes(codes, name=type(self).__name__)
        # scikit-learn's check takes longer than a search, so it is left for what this comparison cannot tell.
        same_width = not reset and checked.shape[1] == self.n_features_in_ and not hasattr(self, "feature_names_in_")
        if not hasattr(codes, "columns") and not same_width:
            check_names(self, checked, reset=reset)
        return checked

    def _check_labels(self, y, n_samples):
        return None if y is None else check_labels(y, n_samples, name=f"{type(self).__name__}: y").copy()

    def _check_labels_alike(self, labels):
        """Refuse labels that NumPy could only join with the database's by turning both into something else."""
        kinds = [labels.dtype.kind, self.labels_.dtype.kind]
        numbers, texts = set("biuf"), set("UST")
        alike = kinds[0] == kinds[1] or set(kinds) <= numbers or set(kinds) <= texts
        if not alike or labels.shape[1:] != self.labels_.shape[1:]:
            raise ValueError(
                f"{type(self).__name__}: y has dtype {labels.dtype} and shape {labels.shape}, the database's labels "
                f"dtype {self.labels_.dtype} and shape {self.labels_.shape}; pass labels of the same kind."
            )

    def _check_same_kind(self, name, given, needed):
        if given != needed:
            state = "with" if needed else "without"
            raise ValueError(
                f"{type(self).__name__}: fit was called {state} {name}, so add must be called {state} {name} too."
            )

    def _check_names(self, n_samples, y, ids):
        """Check the labels and ids of codes to add, but for whether the ids are in use."""
        labels = self._check_labels(y, n_samples)
        self._check_same_kind("y", labels is not None, self.labels_ is not None)
        self._check_same_kind("ids", ids is not None, self._ids_given)
        if labels is not None:
            self._check_labels_alike(labels)
        return labels, self._check_new_ids(ids, n_samples) if self._ids_given else None

    def _check_new_ids(self, ids, n_samples):
        owner = type(self).__name__
        ids = check_ids(ids, owner=owner)
        if len(ids) != n_samples:
            raise ValueError(f"{owner}: got {len(ids)} ids for {n_samples} codes; pass one a code.")
        check_distinct(ids, owner=owner)
        return ids

    def _check_n_neighbors(self, n_neighbors):
        if isinstance(n_neighbors, (bool, np.bool_)) or not isinstance(n_neighbors, Integral):
            raise TypeError(f"{type(self).__name__}: n_neighbors={shown(n_neighbors)} must be an integer.")
        if n_neighbors < 1:
            raise ValueError(f"{type(self).__name__}: n_neighbors={n_neighbors} must be >= 1.")
        return int(n_neighbors)

    def _check_radius(self, radius):
        if isinstance(radius, (bool, np.bool_)) or not isinstance(radius, Real):
            raise TypeError(f"{type(self).__name__}: radius={shown(radius)} must be a number of bits.")
        if not radius >= 0:
            raise ValueError(f"{type(self).__name__}: radius={shown(radius)} must be >= 0.")
        # Larger than any distance is enough, and no float holds every integer.
        return min(int(radius), _LARGEST_RADIUS) if isinstance(radius, Integral) else float(radius)

    def _check_mode(self, mode):
        if not isinstance(mode, str) or mode not in ("connectivity", "distance"):
            raise ValueError(f"{type(self).__name__}: mode={shown(mode)} must be 'connectivity' or 'distance'.")

    def _check_enough(self, n_neighbors, n_samples, candidates, without_self):
        n_candidates = n_samples if candidates is None else count_rows(candidates)
        if without_self and n_candidates:
            n_candidates -= 1
        if n_neighbors > n_candidates:
            reason = "in the database" if candidates is None else "left by where"
            if without_self:
                reason += " beside the query itself"
            raise ValueError(
                f"{type(self).__name__}: n_neighbors={n_neighbors} must be <= {n_candidates}, the number of codes "
                f"{reason} (n_samples_fit={n_samples}); ask for fewer neighbours or add codes."
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.positive_only = True
        return tags


def _graph(counts, distances, rows, mode, n_samples):
    data = np.ones(len(rows)) if mode == "connectivity" else distances.astype(np.float64)
    pointers = np.concatenate([[0], np.cumsum(counts)])
    return sparse.csr_matrix((data, rows, pointers), shape=(len(counts), n_samples))


def _drop_self(distances, rows):
    """Drop each row of the database from its own neighbours, or the last one where it is not among those found."""
    is_self = rows == np.arange(len(rows))[:, None]
    n_found = rows.shape[1]
    drop = np.where(is_self.any(axis=1), is_self.argmax(axis=1), n_found - 1)
    keep = np.arange(n_found) != drop[:, None]
    return distances[keep].reshape(-1, n_found - 1), rows[keep].reshape(-1, n_found - 1)


def _split(values, counts):
    """Cut an array into an object array of one array a query."""
    parts = np.empty(len(counts), dtype=object)
    stops = np.cumsum(counts)
    for query, (start, stop) in enumerate(zip(stops - counts, stops, strict=True)):
        parts[query] = values[start:stop]
    return parts
