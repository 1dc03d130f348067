"""Tie groups: what a ranking with ties puts into its first k positions.

A ranking is a sequence of groups of items at equal distance. Order is undefined inside a group, so a metric
is the mean over all orders (``ties="expected"``), or that of the best or the worst order.
"""

import numpy as np


def tie_groups(counts, gains, ties):
    """Return the sizes of the groups and the sums of the gains of their items.

    The best and the worst order are rankings of smaller groups: those of equal distance *and* equal
    relevance.

    Parameters
    ----------
    counts : ndarray of shape (n_queries, n_levels, n_distances), dtype int64
        Number of items of each level at each distance.

    gains : ndarray of shape (n_levels,)
        Gain of an item of each level, ascending.

    ties : {"expected", "best", "worst"}
        Order inside groups of equal distance.

    Returns
    -------
    sizes : ndarray of shape (n_queries, n_groups), dtype int64
        Number of items of each group, in the order of the ranking.

    gain_sums : ndarray of shape (n_queries, n_groups)
        Sum of the gains of the items of each group.
    """
    if ties == "expected":
        return counts.sum(axis=1), np.tensordot(counts, gains, axes=(1, 0))
    order = slice(None, None, -1) if ties == "best" else slice(None)
    sizes = counts[:, order].transpose(0, 2, 1)
    return sizes.reshape(len(counts), -1), (sizes * gains[order]).reshape(len(counts), -1)


def items_before(sizes):
    """Return the number of items in front of every group."""
    return np.cumsum(sizes, axis=1) - sizes


def items_taken(sizes, k):
    """Return how many items of every group are among the first `k` of the ranking (None: all)."""
    if k is None:
        return sizes
    # Small integers of NumPy would overflow.
    return np.clip(int(k) - items_before(sizes), 0, sizes)


def shares_taken(sizes, k):
    """Return the probability of the items of every group to be among the first `k`; 0 for empty groups."""
    return items_taken(sizes, k) / np.maximum(sizes, 1)


def divide(numerators, denominators):
    """Divide, with 0 where the denominator is 0."""
    return np.divide(numerators, denominators, out=np.zeros(len(numerators), dtype=np.float64), where=denominators != 0)
