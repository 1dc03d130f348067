"""Precision and recall of the first k positions."""

from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._parameters import check_parameters
from ._rankings import score_queries, summarize
from ._tie_groups import divide, shares_taken, tie_groups


def precision_per_query(counts, *, k, ties):
    """Return the share of relevant items among the first `k` of every query."""
    return _hits(counts, k, ties) / k


def recall_per_query(counts, *, k, ties):
    """Return the share of every query's relevant items that are among the first `k`; 0 where it has none."""
    return divide(_hits(counts, k, ties), counts[:, 1:].sum(axis=(1, 2)))


def _hits(counts, k, ties):
    is_relevant = np.arange(counts.shape[1]) > 0
    sizes, relevant = tie_groups(counts, is_relevant.astype(np.float64), ties)
    return (relevant * shares_taken(sizes, k)).sum(axis=1)


def precision_at_k(
    query_codes: ArrayLike,
    database_codes: ArrayLike | None,
    query_labels: ArrayLike,
    database_labels: ArrayLike | None = None,
    *,
    k: int,
    ties: str = "expected",
    zero_relevant: str = "zero",
    return_per_query: bool = False,
) -> float | tuple[float, NDArray[np.float64]]:
    """Compute the mean share of relevant items among the first k of Hamming rankings, exactly under ties.

    Parameters
    ----------
    query_codes : array-like of shape (n_queries, n_bytes)
        Packed codes of the queries.

    database_codes : array-like of shape (n_database, n_bytes) or None
        Packed codes of the database. None ranks the queries among themselves, each left out of its own
        ranking.

    query_labels : array-like of shape (n_queries,) or (n_queries, n_labels)
        Classes, or indicators of zeros and ones: items are relevant that have the same class or share a
        label.

    database_labels : array-like of shape (n_database,) or (n_database, n_labels), default=None
        Labels of the database, of the same kind. None exactly where `database_codes` is None.

    k : int
        Length of the ranking that is looked at, at most the number of database items.

    ties : {"expected", "best", "worst"}, default="expected"
        Order of items at equal distance: the mean over all orders, or the order with the highest or the
        lowest value.

    zero_relevant : {"zero", "skip", "error"}, default="zero"
        Queries without any relevant item in the database count as 0, with a warning, are left out of the mean,
        or raise an error.

    return_per_query : bool, default=False
        Whether to return the value of every query too.

    Returns
    -------
    score : float
        Mean precision, from 0 to 1.

    per_query : ndarray of shape (n_queries,), dtype float64
        Precision of every query, NaN where skipped. Only if `return_per_query` is True.

    Raises
    ------
    TypeError
        If codes are sparse, boolean or not numeric.
    ValueError
        If codes or labels are malformed or do not match, `k` exceeds the database, no query has a
        relevant item, or `zero_relevant` refuses.

    Warns
    -----
    UserWarning
        If queries have no relevant item in the database and count as 0, or the database seems to hold the
        queries, see :func:`mean_average_precision`.

    See Also
    --------
    recall_at_k : The share of the relevant items that were found.
    precision_within_radius : The precision of a Hamming ball instead of a number of items.

    Examples
    --------
    >>> from skhash.metrics import precision_at_k
    >>> precision_at_k([[0]], [[0], [1], [2], [255]], ["cat"], ["cat", "cat", "dog", "cat"], k=2)
    0.75
    """
    caller = "precision_at_k"
    check_parameters(caller, k=k, ties=ties, zero_relevant=zero_relevant)
    values, kept = score_queries(
        caller,
        {caller: partial(precision_per_query, k=k, ties=ties)},
        (query_codes, database_codes, query_labels, database_labels),
        k=k,
        zero_relevant=zero_relevant,
    )
    return summarize(values[caller], kept, return_per_query)


def recall_at_k(
    query_codes: ArrayLike,
    database_codes: ArrayLike | None,
    query_labels: ArrayLike,
    database_labels: ArrayLike | None = None,
    *,
    k: int,
    ties: str = "expected",
    zero_relevant: str = "zero",
    return_per_query: bool = False,
) -> float | tuple[float, NDArray[np.float64]]:
    """Compute the mean share of the relevant items that are among the first k of Hamming rankings.

    This is recall in the sense of retrieval, over all relevant items. The "recall@k" of metric learning,
    whether any of the first k is relevant, is another quantity.

    Parameters
    ----------
    query_codes : array-like of shape (n_queries, n_bytes)
        Packed codes of the queries.

    database_codes : array-like of shape (n_database, n_bytes) or None
        Packed codes of the database. None ranks the queries among themselves, each left out of its own
        ranking.

    query_labels : array-like of shape (n_queries,) or (n_queries, n_labels)
        Classes, or indicators of zeros and ones: items are relevant that have the same class or share a
        label.

    database_labels : array-like of shape (n_database,) or (n_database, n_labels), default=None
        Labels of the database, of the same kind. None exactly where `database_codes` is None.

    k : int
        Length of the ranking that is looked at, at most the number of database items.

    ties : {"expected", "best", "worst"}, default="expected"
        Order of items at equal distance: the mean over all orders, or the order with the highest or the
        lowest value.

    zero_relevant : {"zero", "skip", "error"}, default="zero"
        Queries without any relevant item in the database count as 0, with a warning, are left out of the mean,
        or raise an error.

    return_per_query : bool, default=False
        Whether to return the value of every query too.

    Returns
    -------
    score : float
        Mean recall, from 0 to 1.

    per_query : ndarray of shape (n_queries,), dtype float64
        Recall of every query, NaN where skipped. Only if `return_per_query` is True.

    Raises
    ------
    TypeError
        If codes are sparse, boolean or not numeric.
    ValueError
        If codes or labels are malformed or do not match, `k` exceeds the database, no query has a
        relevant item, or `zero_relevant` refuses.

    Warns
    -----
    UserWarning
        If queries have no relevant item in the database and count as 0, or the database seems to hold the
        queries, see :func:`mean_average_precision`.

    See Also
    --------
    precision_at_k : The share of the first k that are relevant.

    Examples
    --------
    >>> from skhash.metrics import recall_at_k
    >>> recall_at_k([[0]], [[0], [1], [2], [255]], ["cat"], ["cat", "cat", "dog", "cat"], k=2)
    0.5
    """
    caller = "recall_at_k"
    check_parameters(caller, k=k, ties=ties, zero_relevant=zero_relevant)
    values, kept = score_queries(
        caller,
        {caller: partial(recall_per_query, k=k, ties=ties)},
        (query_codes, database_codes, query_labels, database_labels),
        k=k,
        zero_relevant=zero_relevant,
    )
    return summarize(values[caller], kept, return_per_query)
