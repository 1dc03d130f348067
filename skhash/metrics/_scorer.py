"""Retrieval scores as scikit-learn scorers, ``scorer(estimator, X, y)``."""

import inspect
from functools import partial

import numpy as np
from sklearn.pipeline import Pipeline

from .._validation import shown
from ._average_precision import average_precision
from ._graded import acg_at_k, acg_per_query, ndcg_at_k, ndcg_per_query
from ._mean_average_precision import mean_average_precision
from ._parameters import check_parameters
from ._radius import precision_in_ball_per_query, precision_within_radius
from ._rankings import score_queries
from ._top_k import precision_at_k, precision_per_query, recall_at_k, recall_per_query

# The public function, whose signature gives parameters and defaults, and what it computes of every query.
_METRICS = {
    "mean_average_precision": (mean_average_precision, average_precision),
    "precision_at_k": (precision_at_k, precision_per_query),
    "recall_at_k": (recall_at_k, recall_per_query),
    "ndcg_at_k": (ndcg_at_k, ndcg_per_query),
    "acg_at_k": (acg_at_k, acg_per_query),
    "precision_within_radius": (precision_within_radius, precision_in_ball_per_query),
}
_DATABASES = ("fitted", "self")
_SHUFFLE_FOLDS = (
    "folds of data sorted by class lack classes: pass cv=StratifiedKFold(shuffle=True), or KFold(shuffle=True) for "
    "indicators"
)


class RetrievalScoringError(BaseException):
    """A retrieval scorer was put to a use that can never work, whatever the parameters of the estimator.

    This is no :class:`Exception` on purpose. With their default ``error_score=nan``, ``GridSearchCV`` and
    ``cross_validate`` catch every :class:`Exception` of a scorer, write NaN for each candidate and, after
    hours of fitting, choose the first of them. A scorer without labels, or of an estimator that gives no
    codes, would fail for every candidate, so it has to stop the search at the first. So would a fold whose
    queries all have no relevant item in the database: that depends on labels and split alone. Other errors
    that depend on the data of a fold are :class:`ValueError` as everywhere.
    """


def make_retrieval_scorer(metrics="mean_average_precision", *, database="fitted", **metric_params):
    """Make a retrieval scorer for ``GridSearchCV``, ``cross_validate`` and the like.

    Parameters
    ----------
    metrics : str or list of str, default="mean_average_precision"
        Names of metrics: "mean_average_precision", "precision_at_k", "recall_at_k", "ndcg_at_k", "acg_at_k"
        or "precision_within_radius". A list makes a scorer that returns a dictionary, computed from one
        transformation of the test fold; a search over it needs ``refit=`` one of the names.

    database : {"fitted", "self"}, default="fitted"
        What the test fold is ranked against. "fitted": the codes and labels that the search was fitted on;
        the estimator is a fitted :class:`~skhash.neighbors.HammingNearestNeighbors`, with codes for ``X``, or
        a pipeline that ends in one. "self": the test fold itself, each item left out of its own ranking; the
        estimator is a hasher, a pipeline that ends in one, or any that "fitted" takes. Scores of the training
        fold are only meaningful with "self": the fitted database holds each of its items.

    **metric_params : dict
        Parameters of the metrics by keyword, such as `k`, `ties`, `normalizer`, `radius` or `zero_relevant`.
        Each metric gets those it has.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y)`` returns a float, or a dictionary of floats for a list of metrics. Higher
        is better. It can be pickled, and its representation states everything that defines the number.

    Raises
    ------
    ValueError
        If a name, a parameter or a value is unknown, or a metric lacks a parameter that has no default.

    See Also
    --------
    mean_average_precision_scorer : Ready for use.
    RetrievalScoringError : What the scorer raises where it can never work.

    Notes
    -----
    Pass ``cv=StratifiedKFold(shuffle=True)`` (``KFold(shuffle=True)`` for indicators) to a search over a pipeline that
    ends in a Hamming search. scikit-learn takes it for no classifier, so the folds of ``cv=3`` are not shuffled, and
    for items sorted by class the training fold lacks the classes of the queries: the scorer warns of queries without
    any relevant item, and raises :class:`RetrievalScoringError` if there are no others. It warns, too, if the database
    seems to hold most of the queries, see :func:`mean_average_precision`: of duplicates that are in both folds, or
    because it was called on the data of `fit`.

    Examples
    --------
    >>> from skhash.metrics import make_retrieval_scorer
    >>> make_retrieval_scorer("precision_at_k", k=10)
    make_retrieval_scorer('precision_at_k', database='fitted', k=10, ties='expected', zero_relevant='zero')

    >>> import numpy as np
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> hasher = FunctionTransformer(lambda X: np.packbits(X >= 0, axis=1))
    >>> scorer = make_retrieval_scorer(["mean_average_precision", "precision_at_k"], database="self", k=1)
    >>> scorer(hasher.fit([[0.0, 0.0]]), np.array([[1, 1], [2, 1], [-1, -1], [-2, -1]]), ["a", "a", "b", "b"])
    {'mean_average_precision': 1.0, 'precision_at_k': 1.0}
    """
    return _RetrievalScorer(metrics, database, metric_params)


class _RetrievalScorer:
    """The callable behind :func:`make_retrieval_scorer`."""

    def __init__(self, metrics, database, metric_params):
        names = _check_names(metrics)
        if not isinstance(database, str) or database not in _DATABASES:
            raise ValueError(f"make_retrieval_scorer: database={shown(database)} must be 'fitted' or 'self'.")
        self.metrics = metrics if isinstance(metrics, str) else names
        self.database = database
        self._params_of_metrics = {name: _select_params(name, metric_params) for name in names}
        _check_no_param_left(self._params_of_metrics, metric_params)
        # A parameter has the same value in all metrics that have it.
        self._params = {key: value for params in self._params_of_metrics.values() for key, value in params.items()}

    def __call__(self, estimator, X, y=None):
        """Score an estimator on test data.

        Parameters
        ----------
        estimator : object
            A fitted hasher, Hamming search or pipeline of them.

        X : array-like
            The queries, as the estimator takes them.

        y : array-like of shape (n_queries,) or (n_queries, n_labels)
            Their labels.

        Returns
        -------
        score : float or dict of str to float
            The mean over the queries, of each metric if the scorer was made with a list.

        Raises
        ------
        RetrievalScoringError
            If there are no usable labels, no query has a relevant item in the database, `zero_relevant` refuses,
            or the estimator cannot give codes or a database.

        ValueError
            If `k` exceeds the database.

        Warns
        -----
        UserWarning
            If some queries have no relevant item in the database and count as 0, or most seem to be in it, see
            :func:`mean_average_precision`.
        """
        if y is None:
            raise RetrievalScoringError(f"{self!r}: y is None; retrieval is scored against labels, pass y.")
        values, kept = score_queries(
            "make_retrieval_scorer",
            self._metrics_per_query(),
            self._codes_and_labels(estimator, X, y),
            k=self._params.get("k"),
            zero_relevant=self._params["zero_relevant"],
            advice=_SHUFFLE_FOLDS,
            label_error=RetrievalScoringError,
        )
        scores = {name: float(values[name][kept].mean()) for name in values}
        return scores[self.metrics] if isinstance(self.metrics, str) else scores

    def _codes_and_labels(self, estimator, X, y):
        """Return query codes, database codes, query labels and database labels."""
        estimator = getattr(estimator, "best_estimator_", estimator)
        search, encoder = _split(estimator)
        if self.database == "self":
            return self._encode(encoder, X), None, y, None
        if getattr(search, "codes_", None) is None:
            raise RetrievalScoringError(
                f"{self!r}: {_describe(estimator)} ends in no fitted HammingNearestNeighbors, so there is no database; "
                "append one, or use database='self'."
            )
        if getattr(search, "labels_", None) is None:
            raise RetrievalScoringError(
                f"{self!r}: {type(search).__name__} was fitted without y, so the database has no labels; pass y to fit."
            )
        return self._encode(encoder, X), search.codes_, y, search.labels_

    def _encode(self, encoder, X):
        if encoder is None:
            return X
        if not hasattr(encoder, "transform"):
            raise RetrievalScoringError(
                f"{self!r}: {_describe(encoder)} has no transform that gives codes; use a hasher."
            )
        codes = np.asarray(encoder.transform(X))
        if codes.dtype != np.uint8:
            raise RetrievalScoringError(
                f"{self!r}: {_describe(encoder)} transforms to {codes.dtype}, not to packed uint8 codes; "
                "end in a hasher."
            )
        return codes

    def _metrics_per_query(self):
        return {
            name: partial(_METRICS[name][1], **{key: params[key] for key in params if key != "zero_relevant"})
            for name, params in self._params_of_metrics.items()
        }

    def __repr__(self):
        listed = "".join(f", {key}={value!r}" for key, value in self._params.items())
        return f"make_retrieval_scorer({self.metrics!r}, database={self.database!r}{listed})"


def _check_names(metrics):
    if not isinstance(metrics, (str, list, tuple)):
        raise ValueError(f"make_retrieval_scorer: metrics={shown(metrics)} must be a name or a list of names.")
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    for name in names:
        if not isinstance(name, str) or name not in _METRICS:
            known = ", ".join(repr(known) for known in _METRICS)
            raise ValueError(f"make_retrieval_scorer: metric {shown(name)} must be one of {known}.")
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"make_retrieval_scorer: metrics={shown(metrics)} must name at least one metric, and none twice."
        )
    return names


def _select_params(name, metric_params):
    """Return the parameters of a metric: those given, and the defaults of the public function."""
    signature = inspect.signature(_METRICS[name][0]).parameters
    known = {
        key: parameter.default
        for key, parameter in signature.items()
        if parameter.kind is parameter.KEYWORD_ONLY and not key.startswith("return_")
    }
    params = {key: metric_params.get(key, default) for key, default in known.items()}
    for key, value in params.items():
        if value is inspect.Parameter.empty:
            raise ValueError(f"make_retrieval_scorer: {name} needs {key}; pass it by keyword.")
    check_parameters(name, k_may_be_none="k" in known and known["k"] is None, **params)
    return params


def _check_no_param_left(params_of_metrics, metric_params):
    known = set().union(*params_of_metrics.values())
    for key in metric_params:
        if key not in known:
            raise ValueError(
                f"make_retrieval_scorer: {key}={shown(metric_params[key])} is no parameter of "
                f"{', '.join(params_of_metrics)}; known are {', '.join(sorted(known))}."
            )


def _split(estimator):
    """Return the final Hamming search and what gives codes to it; None where there is none."""
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    if not hasattr(last, "kneighbors"):
        return None, estimator
    if last is estimator or len(estimator.steps) == 1:
        return last, None
    return last, estimator[:-1]


def _describe(estimator):
    if isinstance(estimator, Pipeline):
        steps = " -> ".join(type(step).__name__ for _, step in estimator.steps)
        return f"a {type(estimator).__name__} of {steps}"
    return type(estimator).__name__


mean_average_precision_scorer = make_retrieval_scorer("mean_average_precision")
precision_within_radius_scorer = make_retrieval_scorer("precision_within_radius")
