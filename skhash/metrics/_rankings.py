"""Rankings as counts: how many items of which relevance lie at which Hamming distance from every query.

A Hamming distance takes ``8 * n_bytes + 1`` values, so these counts say all there is to know about a ranking,
ties included, in memory that does not grow with the database. Every metric is computed from them.
"""

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from ..codes import check_codes
from ._histograms import make_histograms
from ._labels import relevance_from_labels
from ._parameters import check_rank_limit

# Entries of the array of counts that is handed out at once, 8 bytes each.
_BLOCK_COUNTS = 2**21
# From how many queries on, and for which share of them, it is no chance that each meets one relevant item of its code.
_FEWEST_KNOWN_QUERIES = 30
_SHARE_OF_KNOWN_QUERIES = 0.75


class Rankings:
    """The rankings of a database by a set of queries.

    Parameters
    ----------
    caller : str
        What to call the metric in error messages.

    query_codes, database_codes : array-like of shape (n, n_bytes)
        Packed codes. Without a database the queries rank each other, each left out of its own ranking.

    query_labels, database_labels : array-like of shape (n,) or (n, n_labels)
        Classes or 0/1 indicators.

    n_bits : int, default=None
        Code length, checked against the codes when given.

    label_error : type of BaseException, default=ValueError
        What to raise for labels that cannot be compared.
    """

    def __init__(
        self,
        caller,
        query_codes,
        database_codes,
        query_labels,
        database_labels,
        *,
        n_bits=None,
        label_error=ValueError,
    ):
        self.caller = caller
        self.leave_one_out = database_codes is None
        if self.leave_one_out != (database_labels is None):
            raise ValueError(
                f"{caller}: pass both database_codes and database_labels, or neither to rank the queries themselves."
            )
        query_codes = check_codes(query_codes, n_bits=n_bits, name=f"{caller}: query_codes")
        if self.leave_one_out:
            database_codes = query_codes
        else:
            database_codes = check_codes(database_codes, n_bits=n_bits, name=f"{caller}: database_codes")
            self._check_pair(query_codes, database_codes)
        self.n_queries = len(query_codes)
        self.n_database = len(database_codes) - self.leave_one_out
        if self.n_database == 0:
            raise ValueError(f"{caller}: one code alone has nothing to rank; pass at least 2, or a database.")
        self.n_distances = 8 * query_codes.shape[1] + 1
        try:
            self.relevance = relevance_from_labels(query_labels, database_labels, len(query_codes), len(database_codes))
        except ValueError as error:
            raise label_error(f"{caller}: {error}") from error
        self._query_codes, self._database_codes = query_codes, database_codes

    def _check_pair(self, query_codes, database_codes):
        if query_codes.shape[1] != database_codes.shape[1]:
            raise ValueError(
                f"{self.caller}: query_codes have {query_codes.shape[1]} bytes and database_codes "
                f"{database_codes.shape[1]}; hash both with the same hasher."
            )
        # Both arrays are contiguous, so that overlapping bounds are shared memory.
        self._shares_memory = np.may_share_memory(query_codes, database_codes)
        if self._shares_memory:
            warnings.warn(
                f"{self.caller}: query_codes and database_codes share memory, so queries find themselves; "
                "pass database_codes=None and database_labels=None to leave each query out of its own ranking.",
                UserWarning,
                stacklevel=5,
            )

    def check_rank_limit(self, k):
        """Raise a one-line ValueError if `k` is above the number of items that each query ranks."""
        check_rank_limit(self.caller, k, self.n_database)

    def blocks(self) -> Iterator[NDArray[np.int64]]:
        """Yield the counts of consecutive blocks of queries.

        Yields
        ------
        counts : ndarray of shape (n_block, n_levels, n_distances), dtype int64
            Number of database items of each level of relevance at each distance.
        """
        histograms = make_histograms(self._query_codes, self._database_codes, self.relevance)
        block_size = max(1, _BLOCK_COUNTS // (self.relevance.n_levels * self.n_distances))
        for block in gen_batches(self.n_queries, block_size):
            counts = histograms.count(block)
            if self.leave_one_out:
                counts[np.arange(len(counts)), self.relevance.own_levels(block), 0] -= 1
            yield counts

    def score(self, metrics):
        """Compute several metrics of every query in one pass over the pairs.

        Parameters
        ----------
        metrics : dict of str to callable
            Each takes a block of counts and returns the values of its queries.

        Returns
        -------
        values : dict of str to ndarray of shape (n_queries,)
            One value a query.

        n_relevant : ndarray of shape (n_queries,), dtype int64
            Number of database items that are relevant to each query.
        """
        values = {name: [] for name in metrics}
        n_relevant, meets_itself = [], []
        for counts in self.blocks():
            n_relevant.append(counts[:, 1:].sum(axis=(1, 2)))
            meets_itself.append(_seem_to_meet_themselves(counts))
            for name, metric in metrics.items():
                values[name].append(metric(counts))
        if not (self.leave_one_out or self._shares_memory):
            self._warn_of_known_queries(np.concatenate(meets_itself))
        return {name: np.concatenate(parts) for name, parts in values.items()}, np.concatenate(n_relevant)

    def _warn_of_known_queries(self, meets_itself):
        """Warn if most queries seem to meet themselves in the database.

        If the number of database items with a query's code is random with mean m, it is 1 with probability m
        exp(-m), at most 1/e = 0.37 for any m, so neither short nor collapsed codes come near the share asked for.
        Queries of equal codes count once, as a database of few items a class (class centres, say) meets many.
        """
        fewest = max(_FEWEST_KNOWN_QUERIES, _SHARE_OF_KNOWN_QUERIES * self.n_queries)
        if meets_itself.sum() < fewest:
            return
        n_known = len(np.unique(self._query_codes[meets_itself], axis=0))
        if n_known >= fewest:
            warnings.warn(
                f"{self.caller}: for {n_known} of {self.n_queries} queries, the database holds exactly one item of the "
                "same code, and a relevant one, so it seems to hold these queries, which then find themselves, or "
                "duplicates of them; take them out of it.",
                UserWarning,
                stacklevel=5,
            )


def _seem_to_meet_themselves(counts):
    """Say for every query whether one item has its code, a relevant one, though not the only relevant one.

    The only relevant item is what the query looks for: another picture of the same object, say, and a good hasher gives
    it the same code.
    """
    relevant = counts[:, 1:].sum(axis=1)
    return (counts[:, 0, 0] == 0) & (relevant[:, 0] == 1) & (relevant.sum(axis=1) > 1)


_CHECK_LABELS = "check that both have the same classes"


def score_queries(
    caller,
    metrics,
    codes_and_labels,
    *,
    n_bits=None,
    k=None,
    zero_relevant="zero",
    advice=_CHECK_LABELS,
    label_error=ValueError,
):
    """Compute metrics of every query and say which queries count.

    Parameters
    ----------
    caller : str
        Name of the public function.

    metrics : dict of str to callable
        Each takes a block of counts and returns the values of its queries.

    codes_and_labels : tuple
        Query codes, database codes, query labels, database labels.

    n_bits : int, default=None
        Code length, checked against the codes when given.

    k : int, default=None
        Length of the ranking that is looked at, checked against the database.

    zero_relevant : {"zero", "skip", "error"}, default="zero"
        What becomes of queries without any relevant item.

    advice : str, default="check that both have the same classes"
        What messages say to do about queries without any relevant item.

    label_error : type of BaseException, default=ValueError
        What to raise for labels that allow no score.

    Returns
    -------
    values : dict of str to ndarray
        One row a query.

    kept : ndarray of shape (n_queries,), dtype bool
        The queries to average over.
    """
    rankings = Rankings(caller, *codes_and_labels, n_bits=n_bits, label_error=label_error)
    rankings.check_rank_limit(k)
    values, n_relevant = rankings.score(metrics)
    if zero_relevant == "zero" and not n_relevant.any():
        raise label_error(none_relevant(caller, len(n_relevant), advice))
    return values, kept_queries(n_relevant, zero_relevant, caller, advice=advice, label_error=label_error, stacklevel=4)


def kept_queries(n_relevant, zero_relevant, caller, *, advice, label_error=ValueError, stacklevel):
    """Say which queries count, after refusing those without any relevant item, or warning of them.

    Parameters
    ----------
    n_relevant : ndarray of shape (n_queries,), dtype int64
        Number of database items that are relevant to each query.

    zero_relevant : {"zero", "skip", "error"}
        What becomes of queries without any relevant item.

    caller : str
        Name of the public function.

    advice : str
        What messages say to do about queries without any relevant item.

    label_error : type of BaseException, default=ValueError
        What to raise.

    stacklevel : int
        How many calls up a warning points.

    Returns
    -------
    kept : ndarray of shape (n_queries,), dtype bool
        The queries to average over.
    """
    without = n_relevant == 0
    found = (
        f"{caller}: {without.sum()} of {len(without)} queries (first: {without.argmax()}) have no relevant item in the "
        "database"
    )
    if zero_relevant == "error" and without.any():
        raise label_error(
            f"{found}; {advice}, or pass zero_relevant='zero' to count them as 0 or 'skip' to leave them out."
        )
    if zero_relevant == "skip" and without.all():
        raise label_error(none_relevant(caller, len(without), advice))
    if zero_relevant == "zero" and without.any():
        warnings.warn(
            f"{found} and count as 0; {advice}, or pass zero_relevant='skip' to leave them out.",
            UserWarning,
            stacklevel=stacklevel,
        )
    return ~without if zero_relevant == "skip" else np.ones(len(without), dtype=bool)


def none_relevant(caller, n_queries, advice):
    """Return the message for a mean over nothing but queries without any relevant item."""
    return f"{caller}: none of the {n_queries} queries has a relevant item in the database; {advice}."


def summarize(values, kept, return_per_query):
    """Return the mean over the kept queries and, on request, the single values with NaN for the others."""
    mean = float(values[kept].mean())
    return (mean, np.where(kept, values, np.nan)) if return_per_query else mean
