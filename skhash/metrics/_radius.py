"""Precision and recall of Hamming balls. A radius includes its border, and ties cannot arise."""

from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._parameters import check_parameters
from ._rankings import score_queries
from ._tie_groups import divide


def precision_in_ball_per_query(counts, *, radius):
    """Return the share of relevant items within `radius` of every query; 0 where the ball is empty."""
    ball = counts[:, :, : int(radius) + 1].sum(axis=2)
    return divide(ball[:, 1:].sum(axis=1), ball.sum(axis=1))


def ball_is_empty_per_query(counts, *, radius):
    """Say for every query whether no item lies within `radius`."""
    return counts[:, :, : int(radius) + 1].sum(axis=(1, 2)) == 0


def _curves_per_query(counts):
    """Return precision and recall at every radius, (n_queries, 2, n_radii); 0 where undefined."""
    retrieved = counts.sum(axis=1).cumsum(axis=1)
    hits = counts[:, 1:].sum(axis=1).cumsum(axis=1)
    return np.stack([hits / np.maximum(retrieved, 1), hits / np.maximum(hits[:, -1:], 1)], axis=1)


def precision_within_radius(
    query_codes: ArrayLike,
    database_codes: ArrayLike | None,
    query_labels: ArrayLike,
    database_labels: ArrayLike | None = None,
    *,
    radius: int = 2,
    zero_relevant: str = "zero",
    return_empty_rate: bool = False,
) -> float | tuple[float, float]:
    """Compute the mean precision of the Hamming balls around the queries.

    What a lookup in a hash table finds. An empty ball counts as precision 0, as is the custom, and long codes
    have many of them: look at the rate of empty balls too.

    Parameters
    ----------
    query_codes : array-like of shape (n_queries, n_bytes)
        Packed codes of the queries.

    database_codes : array-like of shape (n_database, n_bytes) or None
        Packed codes of the database. None looks for the queries among themselves, each left out of its own
        ball.

    query_labels : array-like of shape (n_queries,) or (n_queries, n_labels)
        Classes, or indicators of zeros and ones: items are relevant that have the same class or share a
        label.

    database_labels : array-like of shape (n_database,) or (n_database, n_labels), default=None
        Labels of the database, of the same kind. None exactly where `database_codes` is None.

    radius : int, default=2
        Largest distance inside the ball, in bits.

    zero_relevant : {"zero", "skip", "error"}, default="zero"
        Queries without any relevant item in the database count as 0, with a warning, are left out of the mean,
        or raise an error.

    return_empty_rate : bool, default=False
        Whether to return the share of empty balls too.

    Returns
    -------
    precision : float
        Mean precision, from 0 to 1.

    empty_rate : float
        Share of the same queries whose ball is empty. Only if `return_empty_rate` is True.

    Raises
    ------
    TypeError
        If codes are sparse, boolean or not numeric.
    ValueError
        If codes or labels are malformed or do not match, `radius` is no integer >= 0, no query has a
        relevant item, or `zero_relevant` refuses.

    Warns
    -----
    UserWarning
        If queries have no relevant item in the database and count as 0, or the database seems to hold the
        queries, see :func:`mean_average_precision`.

    See Also
    --------
    precision_recall_by_radius : All radii.
    precision_at_k : A number of items instead of a ball.

    Examples
    --------
    >>> from skhash.metrics import precision_within_radius
    >>> database_codes, labels = [[0b1], [0b11], [0b111]], ["cat", "dog", "cat"]
    >>> precision_within_radius([[0], [255]], database_codes, ["cat", "cat"], labels, return_empty_rate=True)
    (0.25, 0.5)
    """
    caller = "precision_within_radius"
    check_parameters(caller, radius=radius, zero_relevant=zero_relevant)
    values, kept = score_queries(
        caller,
        {
            "precision": partial(precision_in_ball_per_query, radius=radius),
            "is_empty": partial(ball_is_empty_per_query, radius=radius),
        },
        (query_codes, database_codes, query_labels, database_labels),
        zero_relevant=zero_relevant,
    )
    precision, empty_rate = (float(values[name][kept].mean()) for name in ("precision", "is_empty"))
    return (precision, empty_rate) if return_empty_rate else precision


def precision_recall_by_radius(
    query_codes: ArrayLike,
    database_codes: ArrayLike | None,
    query_labels: ArrayLike,
    database_labels: ArrayLike | None = None,
    *,
    n_bits: int | None = None,
    zero_relevant: str = "zero",
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Compute mean precision and mean recall of the Hamming balls of every radius.

    Both are averaged over the queries at each radius. An empty ball counts as precision 0, so the curve rises
    at first where codes are long.

    Parameters
    ----------
    query_codes : array-like of shape (n_queries, n_bytes)
        Packed codes of the queries.

    database_codes : array-like of shape (n_database, n_bytes) or None
        Packed codes of the database. None looks for the queries among themselves, each left out of its own
        ball.

    query_labels : array-like of shape (n_queries,) or (n_queries, n_labels)
        Classes, or indicators of zeros and ones: items are relevant that have the same class or share a
        label.

    database_labels : array-like of shape (n_database,) or (n_database, n_labels), default=None
        Labels of the database, of the same kind. None exactly where `database_codes` is None.

    n_bits : int, default=None
        Code length, the largest radius; ``8 * n_bytes`` when not given.

    zero_relevant : {"zero", "skip", "error"}, default="zero"
        Queries without any relevant item in the database count as 0, with a warning, are left out of the mean,
        or raise an error.

    Returns
    -------
    precision : ndarray of shape (n_radii,), dtype float64
        Mean precision within each radius.

    recall : ndarray of shape (n_radii,), dtype float64
        Mean recall within each radius, ascending.

    radii : ndarray of shape (n_radii,), dtype int
        All radii from 0 to the code length, in bits.

    Raises
    ------
    TypeError
        If codes are sparse, boolean or not numeric.
    ValueError
        If codes or labels are malformed or do not match, no query has a relevant item, or `zero_relevant`
        refuses.

    Warns
    -----
    UserWarning
        If queries have no relevant item in the database and count as 0, or the database seems to hold the
        queries, see :func:`mean_average_precision`.

    See Also
    --------
    precision_within_radius : One radius, and the rate of empty balls.

    Examples
    --------
    >>> from skhash.metrics import precision_recall_by_radius
    >>> database_codes, labels = [[0b00], [0b01], [0b11]], ["cat", "dog", "cat"]
    >>> precision, recall, radii = precision_recall_by_radius([[0]], database_codes, ["cat"], labels)
    >>> precision[:3]
    array([1.        , 0.5       , 0.66666667])
    >>> recall[:3]
    array([0.5, 0.5, 1. ])
    """
    caller = "precision_recall_by_radius"
    check_parameters(caller, zero_relevant=zero_relevant)
    values, kept = score_queries(
        caller,
        {"curves": _curves_per_query},
        (query_codes, database_codes, query_labels, database_labels),
        n_bits=n_bits,
        zero_relevant=zero_relevant,
    )
    curves = values["curves"]
    n_radii = curves.shape[2] if n_bits is None else int(n_bits) + 1
    precision, recall = curves[kept, :, :n_radii].mean(axis=0)
    return precision, recall, np.arange(n_radii)
