"""Average precision of rankings with ties: the exact expectation, and the best and worst order.

Notation: a tie group has n items, k of them relevant; n0 items and r0 relevant items come before it; t of its
items are among the first K of the ranking.
"""

import numpy as np
from scipy.special import digamma, gammaln
from sklearn.utils import gen_batches

from ._tie_groups import divide, items_before, items_taken

# Outcomes of a cut tie group that are enumerated at once.
_BLOCK_OUTCOMES = 2**18


def average_precision(counts, *, k=None, ties="expected", normalizer="min_k_total"):
    """Compute the average precision of every query from counts.

    Parameters
    ----------
    counts : ndarray of shape (n_queries, n_levels, n_groups), dtype int64
        Number of items of each level of relevance in each tie group; groups may be empty.

    k : int, default=None
        Length of the ranking that is looked at; all of it when not given.

    ties : {"expected", "best", "worst"}, default="expected"
        Order inside tie groups.

    normalizer : {"min_k_total", "retrieved"}, default="min_k_total"
        Divisor: ``min(k, R)`` of the R relevant items, or the number of relevant items among the first `k`.

    Returns
    -------
    values : ndarray of shape (n_queries,), dtype float64
        Average precision; 0 without relevant items.
    """
    sizes, relevant = counts.sum(axis=1), counts[:, 1:].sum(axis=1)
    n_relevant = relevant.sum(axis=1)
    if normalizer == "retrieved" and k is not None:
        return _mean_over_cuts(sizes, relevant, k, ties)
    sums = _precision_sums(
        items_before(sizes), items_before(relevant), sizes, relevant, items_taken(sizes, k), ties
    ).sum(axis=1)
    return divide(sums, n_relevant if k is None else np.minimum(int(k), n_relevant))


def _precision_sums(n0, r0, n, k, t, ties):
    """Sum the precision at the relevant positions among the first t of a group, in the given order."""
    if ties == "best":
        hits = np.minimum(k, t)
        return _expected_sum(n0, r0, hits, hits, hits)
    if ties == "worst":
        hits = np.maximum(0, t - (n - k))
        return _expected_sum(n0 + (n - k), r0, hits, hits, hits)
    return _expected_sum(n0, r0, n, k, t)


def _expected_sum(n0, r0, n, k, t):
    """Sum the expected precision at the relevant positions among the first t of a group.

    The formula is that of McSherry & Najork (ECIR 2008), in closed form.

    Position i is relevant with probability k/n, and then (i - 1) c of the positions before it are, c =
    (k-1)/(n-1):

        sum_{i=1..t} (k/n) [r0 + 1 + (i-1) c] / (n0 + i)  =  (k/n) [(r0 + 1 - c (n0 + 1)) (H[n0+t] - H[n0]) +
        c t]

    where H are the harmonic numbers, H[m] = digamma(m + 1) + const.
    """
    c = (k - 1) / np.maximum(n - 1, 1) * (n > 1)
    return k / np.maximum(n, 1) * ((r0 + 1 - c * (n0 + 1)) * _harmonic_difference(n0, n0 + t) + c * t)


def _harmonic_difference(first, last):
    """Return H[last] - H[first], looked up in a table where that takes fewer evaluations."""
    largest = int(last.max(initial=0))
    if largest >= first.size:
        return digamma(last + 1) - digamma(first + 1)
    harmonic = digamma(np.arange(1, largest + 2))
    return harmonic[last] - harmonic[first]


def _mean_over_cuts(sizes, relevant, limit, ties):
    """Divide by the relevant items among the first `limit`, a random number where the limit cuts a tie group.

    Given that j of the t positions inside the cut group are relevant, the ranking is one with a last group of
    t items, j of them relevant, and the divisor is known. j is hypergeometric.
    """
    n0, r0 = items_before(sizes), items_before(relevant)
    taken = items_taken(sizes, limit)
    whole = taken == sizes
    sums = np.where(whole, _precision_sums(n0, r0, sizes, relevant, sizes, ties), 0.0).sum(axis=1)
    hits = np.where(whole, relevant, 0).sum(axis=1)
    # At most one group is cut. Where none is, any group with t = 0 stands in: its only outcome is j = 0.
    is_cut = (taken > 0) & ~whole
    rows, cut = np.arange(len(sizes)), is_cut.argmax(axis=1)
    t = np.where(is_cut[rows, cut], taken[rows, cut], 0)
    n, k, n0 = sizes[rows, cut], relevant[rows, cut], n0[rows, cut]
    fewest, most = np.maximum(0, t - (n - k)), np.minimum(k, t)
    values = np.empty(len(sizes))
    for batch in gen_batches(len(sizes), max(1, _BLOCK_OUTCOMES // int((most - fewest + 1).max()))):
        n_outcomes = (most - fewest + 1)[batch]
        starts = np.cumsum(n_outcomes) - n_outcomes
        row = np.repeat(np.arange(batch.start, batch.stop), n_outcomes)
        j = np.arange(len(row)) - np.repeat(starts, n_outcomes) + fewest[row]
        sums_of_outcomes = sums[row] + _precision_sums(n0[row], hits[row], t[row], j, t[row], ties)
        outcomes = divide(sums_of_outcomes, hits[row] + j)
        if ties == "expected":
            weights = _hypergeometric_weights(j, n[row], k[row], t[row], starts)
            values[batch] = np.add.reduceat(weights * outcomes, starts) / np.add.reduceat(weights, starts)
        else:
            values[batch] = (np.maximum if ties == "best" else np.minimum).reduceat(outcomes, starts)
    return values


def _hypergeometric_weights(j, n, k, t, starts):
    """Return the probabilities of j relevant items among t of n, up to a factor per query."""
    log_weights = -(gammaln(j + 1) + gammaln(k - j + 1) + gammaln(t - j + 1) + gammaln(n - k - t + j + 1))
    lengths = np.diff(np.append(starts, len(j)))
    return np.exp(log_weights - np.repeat(np.maximum.reduceat(log_weights, starts), lengths))
