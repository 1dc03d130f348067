"""Metrics of graded relevance, for items with several labels: cumulative gains."""

from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._parameters import check_parameters
from ._rankings import score_queries, summarize
from ._tie_groups import divide, items_before, items_taken, shares_taken, tie_groups


def ndcg_per_query(counts, *, k, ties):
    """Return the normalized discounted cumulative gain of every query; 0 where it has no relevant item."""
    gains = np.exp2(np.arange(counts.shape[1])) - 1
    discounts = np.cumsum(1 / np.log2(np.arange(2, counts[0].sum() + 2)))
    cumulated_discounts = np.concatenate([[0.0], discounts])
    # The ideal ranking has all items of the highest level first: one tie group a level.
    levels = counts.sum(axis=2)[:, ::-1]
    ideal = _discounted_gains(levels, levels * gains[::-1], cumulated_discounts, k)
    return divide(_discounted_gains(*tie_groups(counts, gains, ties), cumulated_discounts, k), ideal)


def _discounted_gains(sizes, gain_sums, cumulated_discounts, k):
    """Give every position of a group the mean gain of the group (McSherry & Najork 2008)."""
    before = items_before(sizes)
    discounts = cumulated_discounts[before + items_taken(sizes, k)] - cumulated_discounts[before]
    return (gain_sums / np.maximum(sizes, 1) * discounts).sum(axis=1)


def acg_per_query(counts, *, k, ties):
    """Return the mean number of labels that the first `k` items share with every query."""
    sizes, shared_labels = tie_groups(counts, np.arange(counts.shape[1], dtype=np.float64), ties)
    return (shared_labels * shares_taken(sizes, k)).sum(axis=1) / k


def ndcg_at_k(
    query_codes: ArrayLike,
    database_codes: ArrayLike | None,
    query_labels: ArrayLike,
    database_labels: ArrayLike | None = None,
    *,
    k: int | None = None,
    ties: str = "expected",
    zero_relevant: str = "zero",
    return_per_query: bool = False,
) -> float | tuple[float, NDArray[np.float64]]:
    r"""Compute the mean normalized discounted cumulative gain of Hamming rankings, exactly under ties.

    With :math:`rel_i` the number of labels that the item at position :math:`i` shares with the query,

    .. math:: NDCG@k = \frac{1}{Z} \sum_{i=1}^{k} \frac{2^{rel_i} - 1}{\log_2(i + 1)}

    where :math:`Z` is the sum for the best ranking that the database allows. Tied items all get the mean gain
    of their group, which is the mean over all their orders [1]_.

    Parameters
    ----------
    query_codes : array-like of shape (n_queries, n_bytes)
        Packed codes of the queries.

    database_codes : array-like of shape (n_database, n_bytes) or None
        Packed codes of the database. None ranks the queries among themselves, each left out of its own
        ranking.

    query_labels : array-like of shape (n_queries,) or (n_queries, n_labels)
        Indicators of zeros and ones, or classes, where `rel` is 1 for the same class and else 0.

    database_labels : array-like of shape (n_database,) or (n_database, n_labels), default=None
        Labels of the database, of the same kind. None exactly where `database_codes` is None.

    k : int, default=None
        Length of the ranking that is looked at; all of it when not given.

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
        Mean NDCG, from 0 to 1.

    per_query : ndarray of shape (n_queries,), dtype float64
        NDCG of every query, NaN where skipped. Only if `return_per_query` is True.

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
    acg_at_k : The mean number of shared labels, without discount.
    sklearn.metrics.ndcg_score : The same sum for a matrix of scores; its gains are what it is given.

    References
    ----------
    .. [1] F. McSherry, M. Najork, "Computing information retrieval performance measures efficiently in the
       presence of tied scores", ECIR 2008.

    Examples
    --------
    >>> from skhash.metrics import ndcg_at_k
    >>> labels = [[1, 1, 0], [1, 0, 0], [0, 0, 1]]
    >>> ndcg_at_k([[0]], [[1], [0], [3]], [[1, 1, 0]], labels)
    0.7967...
    """
    caller = "ndcg_at_k"
    check_parameters(caller, k_may_be_none=True, k=k, ties=ties, zero_relevant=zero_relevant)
    values, kept = score_queries(
        caller,
        {caller: partial(ndcg_per_query, k=k, ties=ties)},
        (query_codes, database_codes, query_labels, database_labels),
        k=k,
        zero_relevant=zero_relevant,
    )
    return summarize(values[caller], kept, return_per_query)


def acg_at_k(
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
    r"""Compute the mean average cumulative gain of Hamming rankings, exactly under ties.

    With :math:`rel_i` the number of labels that the item at position :math:`i` shares with the query [1]_,

    .. math:: ACG@k = \frac{1}{k} \sum_{i=1}^{k} rel_i

    Parameters
    ----------
    query_codes : array-like of shape (n_queries, n_bytes)
        Packed codes of the queries.

    database_codes : array-like of shape (n_database, n_bytes) or None
        Packed codes of the database. None ranks the queries among themselves, each left out of its own
        ranking.

    query_labels : array-like of shape (n_queries,) or (n_queries, n_labels)
        Indicators of zeros and ones, or classes, where `rel` is 1 for the same class and else 0.

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
        Mean number of shared labels, from 0 to the largest number of labels of an item.

    per_query : ndarray of shape (n_queries,), dtype float64
        Value of every query, NaN where skipped. Only if `return_per_query` is True.

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
    ndcg_at_k : Discounts later positions, and divides by the best ranking.

    References
    ----------
    .. [1] K. Järvelin, J. Kekäläinen, "IR evaluation methods for retrieving highly relevant documents", SIGIR
       2000.

    Examples
    --------
    >>> from skhash.metrics import acg_at_k
    >>> acg_at_k([[0]], [[1], [0], [3]], [[1, 1, 0]], [[1, 1, 0], [1, 0, 0], [0, 0, 1]], k=2)
    1.5
    """
    caller = "acg_at_k"
    check_parameters(caller, k=k, ties=ties, zero_relevant=zero_relevant)
    values, kept = score_queries(
        caller,
        {caller: partial(acg_per_query, k=k, ties=ties)},
        (query_codes, database_codes, query_labels, database_labels),
        k=k,
        zero_relevant=zero_relevant,
    )
    return summarize(values[caller], kept, return_per_query)
