"""Mean average precision of Hamming rankings, and average precision of rankings by any distance."""

from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import gen_batches

from .._validation import as_array
from ._average_precision import average_precision
from ._parameters import check_parameters, check_rank_limit
from ._rankings import kept_queries, score_queries, summarize

# Entries of the distance matrix that are sorted at once.
_BLOCK_DISTANCES = 2**20


def mean_average_precision(
    query_codes: ArrayLike,
    database_codes: ArrayLike | None,
    query_labels: ArrayLike,
    database_labels: ArrayLike | None = None,
    *,
    k: int | None = None,
    ties: str = "expected",
    normalizer: str = "min_k_total",
    zero_relevant: str = "zero",
    return_per_query: bool = False,
) -> float | tuple[float, NDArray[np.float64]]:
    r"""Compute the mean average precision of Hamming rankings, exactly under ties.

    Hamming distances take few values, so most of a ranking is ties, and the order in which an implementation
    happens to sort them decides its result by a point or more. The default here is the mean over all orders
    of tied items [1]_, which needs no sorting and no random numbers. With :math:`n` items at a distance,
    :math:`k` of them relevant, :math:`n_0` items and :math:`r_0` relevant items at smaller distances, and
    :math:`R` relevant items in all,

    .. math::

        AP = \frac{1}{R} \sum_{\mathrm{distances}} \frac{k}{n} \sum_{i=1}^{n}
             \frac{r_0 + 1 + (i - 1) \frac{k - 1}{n - 1}}{n_0 + i}

    Items are relevant to each other if they have the same class, or share at least one label.

    Parameters
    ----------
    query_codes : array-like of shape (n_queries, n_bytes)
        Packed codes of the queries.

    database_codes : array-like of shape (n_database, n_bytes) or None
        Packed codes of the database. None ranks the queries among themselves, each left out of its own
        ranking.

    query_labels : array-like of shape (n_queries,) or (n_queries, n_labels)
        Classes (numbers, strings or other hashable objects), or indicators of zeros and ones. The number -1
        stands for an unlabelled item and is refused.

    database_labels : array-like of shape (n_database,) or (n_database, n_labels), default=None
        Labels of the database, of the same kind. None exactly where `database_codes` is None.

    k : int, default=None
        Only the first `k` positions of a ranking count (mAP@k); all when not given (``mAP@ALL``).

    ties : {"expected", "best", "worst"}, default="expected"
        Order of items at equal distance: the mean over all orders, or the order with the highest or the
        lowest value.

    normalizer : {"min_k_total", "retrieved"}, default="min_k_total"
        Divisor of mAP@k: ``min(k, R)``, or the number of relevant items among the first `k`. The default
        gives 1 only to a ranking that starts with as many relevant items as it could. The other is common in
        published code, and prefers one relevant item followed by two others (1.0) to relevant, other,
        relevant (0.83). Without `k` both are the same.

    zero_relevant : {"zero", "skip", "error"}, default="zero"
        Queries without any relevant item in the database count as 0, with a warning, are left out of the mean,
        or raise an error.

    return_per_query : bool, default=False
        Whether to return the average precision of every query too, for intervals and paired comparisons.

    Returns
    -------
    score : float
        Mean average precision, from 0 to 1.

    per_query : ndarray of shape (n_queries,), dtype float64
        Average precision of every query, NaN where skipped. Only if `return_per_query` is True.

    Raises
    ------
    TypeError
        If codes are sparse, boolean or not numeric.
    ValueError
        If codes or labels are malformed or do not match, `k` exceeds the database, a query has no relevant
        item under ``zero_relevant="error"``, or none has one.

    Warns
    -----
    UserWarning
        If queries have no relevant item in the database and count as 0; if queries and database share memory; or
        if the database seems to hold the queries, or duplicates of them.

    See Also
    --------
    average_precision_from_distances : The same for rankings by any distance.
    make_retrieval_scorer : The same inside ``GridSearchCV``.

    Notes
    -----
    Queries that are in the database find themselves at distance 0, which lifts every score. The database seems to
    hold them if, for three quarters of the queries and at least 30, it holds exactly one item of the same code, and
    that one is relevant but not the only relevant item. Independent items hardly ever reach this share, however short
    the codes; data in which most items occur twice do. Fewer copies, and copies whose code several items share, as is
    common for short codes, go unnoticed: remove duplicates and split the items before hashing them.

    References
    ----------
    .. [1] F. McSherry, M. Najork, "Computing information retrieval performance measures efficiently in the
       presence of tied scores", ECIR 2008.

    Examples
    --------
    >>> from skhash.metrics import mean_average_precision
    >>> database_codes = [[0b0000], [0b0000], [0b0001], [0b0010], [0b0100], [0b0011]]
    >>> labels = ["cat", "dog", "dog", "cat", "cat", "cat"]
    >>> round(mean_average_precision([[0]], database_codes, ["cat"], labels), 6)
    0.669444
    >>> round(mean_average_precision([[0]], database_codes, ["cat"], labels, ties="worst"), 6)
    0.566667
    """
    caller = "mean_average_precision"
    parameters = {"k": k, "ties": ties, "normalizer": normalizer}
    check_parameters(caller, k_may_be_none=True, zero_relevant=zero_relevant, **parameters)
    values, kept = score_queries(
        caller,
        {caller: partial(average_precision, **parameters)},
        (query_codes, database_codes, query_labels, database_labels),
        k=k,
        zero_relevant=zero_relevant,
    )
    return summarize(values[caller], kept, return_per_query)


def average_precision_from_distances(
    distances: ArrayLike,
    relevance: ArrayLike,
    *,
    k: int | None = None,
    ties: str = "expected",
    normalizer: str = "min_k_total",
    zero_relevant: str = "zero",
) -> float | NDArray[np.float64]:
    """Compute the average precision of rankings by any distance, exactly under ties.

    Distances are compared as they are: items are tied if their distances are equal. The definition is that of
    :func:`mean_average_precision`, before the mean.

    Parameters
    ----------
    distances : array-like of shape (n_database,) or (n_queries, n_database)
        Distances of the database items from one query, or one row a query; small is near.

    relevance : array-like of the same shape
        Whether each item is relevant: booleans or zeros and ones.

    k : int, default=None
        Only the first `k` positions of a ranking count; all when not given.

    ties : {"expected", "best", "worst"}, default="expected"
        Order of items at equal distance: the mean over all orders, or the order with the highest or the
        lowest value.

    normalizer : {"min_k_total", "retrieved"}, default="min_k_total"
        Divisor with `k`: ``min(k, R)``, or the number of relevant items among the first `k`.

    zero_relevant : {"zero", "skip", "error"}, default="zero"
        Queries without any relevant item get 0, with a warning, get NaN, or raise an error.

    Returns
    -------
    values : float or ndarray of shape (n_queries,), dtype float64
        Average precision, a float for one-dimensional `distances`.

    Raises
    ------
    ValueError
        If `distances` are not real numbers or hold NaN, `relevance` has another shape or other values, `k`
        exceeds the database, a query has no relevant item under ``zero_relevant="error"``, or none has one
        under ``zero_relevant="skip"``.

    Warns
    -----
    UserWarning
        If queries have no relevant item and get 0.

    See Also
    --------
    mean_average_precision : For packed codes, without a matrix of distances.

    Examples
    --------
    >>> from skhash.metrics import average_precision_from_distances
    >>> average_precision_from_distances([0.1, 0.3, 0.2], [1, 1, 0])
    0.8333...
    >>> average_precision_from_distances([[0, 0, 1], [2, 1, 0]], [[1, 0, 0], [1, 0, 0]])
    array([0.75      , 0.33333333])
    """
    caller = "average_precision_from_distances"
    parameters = {"k": k, "ties": ties, "normalizer": normalizer}
    check_parameters(caller, k_may_be_none=True, zero_relevant=zero_relevant, **parameters)
    rows, relevant = _check_distances(distances, relevance, caller)
    check_rank_limit(caller, k, rows.shape[1])
    values = np.concatenate(
        [
            average_precision(_counts_of_ties(rows[batch], relevant[batch]), **parameters)
            for batch in gen_batches(len(rows), max(1, _BLOCK_DISTANCES // rows.shape[1]))
        ]
    )
    kept = kept_queries(relevant.sum(axis=1), zero_relevant, caller, advice="check relevance", stacklevel=3)
    values = np.where(kept, values, np.nan)
    return values if np.ndim(distances) == 2 else float(values[0])


def _check_distances(distances, relevance, caller):
    """Return real distances and Boolean relevance, one row a query."""
    distances = as_array(distances, name=f"{caller}: distances")
    relevance = as_array(relevance, name=f"{caller}: relevance")
    if distances.dtype.kind not in "uif":
        raise ValueError(f"{caller}: distances have dtype {distances.dtype}; pass real numbers.")
    if distances.ndim not in (1, 2) or distances.size == 0:
        raise ValueError(
            f"{caller}: distances have shape {distances.shape}; pass a non-empty (n_database,) or "
            "(n_queries, n_database)."
        )
    if np.isnan(distances).any():
        raise ValueError(f"{caller}: distances hold NaN, which has no place in a ranking; use inf for the far end.")
    if relevance.shape != distances.shape:
        raise ValueError(
            f"{caller}: relevance has shape {relevance.shape} and distances {distances.shape}; make them equal."
        )
    if relevance.dtype.kind not in "buif" or not ((relevance == 0) | (relevance == 1)).all():
        raise ValueError(f"{caller}: relevance must be booleans or zeros and ones.")
    return np.atleast_2d(distances), np.atleast_2d(relevance.astype(bool))


def _counts_of_ties(distances, relevance):
    """Return the counts of other and relevant items, (n_queries, 2, n_groups); the last may be empty."""
    n_rows, n_columns = distances.shape
    order = np.argsort(distances, axis=1)
    distances = np.take_along_axis(distances, order, axis=1)
    relevance = np.take_along_axis(relevance, order, axis=1)
    groups = np.zeros((n_rows, n_columns), dtype=np.intp)
    np.cumsum(distances[:, 1:] != distances[:, :-1], axis=1, out=groups[:, 1:])
    n_groups = int(groups[:, -1].max()) + 1
    keys = (2 * np.arange(n_rows)[:, None] + relevance) * n_groups + groups
    return np.bincount(keys.ravel(), minlength=2 * n_rows * n_groups).reshape(n_rows, 2, n_groups)
