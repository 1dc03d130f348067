"""Names of database codes: checks and look-up."""

import numpy as np

from .._validation import as_array


def check_ids(ids, *, owner, name="ids"):
    """Check that ids are integers.

    Parameters
    ----------
    ids : int or array-like of int
        Names of codes.

    owner : str
        Estimator to name in errors.

    name : str, default="ids"
        What to call the argument in errors.

    Returns
    -------
    ids : ndarray of shape (n_ids,), dtype int64
        The same ids.

    Raises
    ------
    TypeError
        If they are anything but integers.
    """
    array = np.atleast_1d(as_array(ids, name=f"{owner}: {name}"))
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iu"):
        raise TypeError(
            f"{owner}: {name} must be a list of integers, got dtype {array.dtype} and shape {array.shape}; "
            "keep other names in a list and pass their positions."
        )
    if array.dtype == np.uint64 and len(array) and array.max() > np.iinfo(np.int64).max:
        raise TypeError(f"{owner}: {name} holds {array.max()}, which does not fit int64; pass smaller integers.")
    return array.astype(np.int64)


def check_distinct(ids, *, owner):
    """Refuse ids of which one occurs twice.

    Parameters
    ----------
    ids : ndarray of shape (n_ids,), dtype int64
        Names of codes.

    owner : str
        Estimator to name in errors.

    Raises
    ------
    ValueError
        If an id occurs twice.
    """
    ordered = np.sort(ids)
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(twice):
        raise ValueError(f"{owner}: id {ordered[twice[0]]} occurs twice; pass each id once.")


def check_unused(ids, used_ids, *, owner):
    """Refuse ids that name a code of the database already.

    Parameters
    ----------
    ids : ndarray of shape (n_ids,), dtype int64
        Names of codes to add.

    used_ids : ndarray of shape (n_samples,), dtype int64
        Names in use.

    owner : str
        Estimator to name in errors.

    Raises
    ------
    ValueError
        If an id is in use.
    """
    taken = ids[np.isin(ids, used_ids)]
    if len(taken):
        raise ValueError(f"{owner}: id {taken[0]} is in use already; remove it first or pass another.")


def check_known(ids, known, *, owner):
    """Refuse ids that name no code of the database.

    Parameters
    ----------
    ids : ndarray of shape (n_ids,), dtype int64
        Names to look up.

    known : ndarray of shape (n_ids,), dtype bool
        Whether each was found.

    owner : str
        Estimator to name in errors.

    Raises
    ------
    ValueError
        If an id is not in the database.
    """
    if not known.all():
        raise ValueError(
            f"{owner}: id {ids[~known][0]} is not in the database ({(~known).sum()} of {len(ids)} ids are not); "
            "pass ids from ids_."
        )


def rows_of_ids(ids, database_ids, n_samples, *, owner):
    """Find the rows of the database that ids name.

    Parameters
    ----------
    ids : ndarray of shape (n_ids,), dtype int64
        Names to look up.

    database_ids : ndarray of shape (n_samples,), dtype int64, or None
        Names of the rows, distinct; None if each row is named by its number.

    n_samples : int
        Number of rows.

    owner : str
        Estimator to name in errors.

    Returns
    -------
    rows : ndarray of shape (n_ids,), dtype int64
        ``database_ids[rows] == ids``.

    Raises
    ------
    ValueError
        If an id is not in the database.
    """
    known = (ids >= 0) & (ids < n_samples) if database_ids is None else np.isin(ids, database_ids)
    check_known(ids, known, owner=owner)
    if database_ids is None:
        return ids
    order = np.argsort(database_ids, kind="stable")
    return order[np.searchsorted(database_ids, ids, sorter=order)]
