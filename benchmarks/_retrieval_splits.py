"""What is trained on, what is searched, and what settings are chosen on, in each protocol of `retrieval.py`."""

from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from skhash.datasets import retrieval_split, unseen_class_split

# Of the classes, in tests and in validation.
UNSEEN_SHARE = 0.3

# Of the rows of each class, in validation.
VALIDATION_SHARE = 0.2

QUERIES_PER_CLASS = 100

# Rows that a setting is fitted on, and held out, at most.
MOST_ROWS_TO_TUNE, MOST_ROWS_HELD_OUT = 10_000, 3_000

# Rows without a known class, as everywhere in skhash.
UNLABELLED = -1


class Counts(NamedTuple):
    """Rows of each class that are drawn."""

    queries: int
    train: int
    # Labelled and unlabelled ones together, where few have labels.
    pool: int


def counts_per_class(y, train_per_class):
    """Say how many rows of each class are drawn.

    These are 100 queries and `train_per_class` training rows, where the smallest class has them and one row more for
    the database. Else a seventh of the smallest class becomes queries, 100 at most, and half of its other rows training
    rows. Where few rows have labels, there are twice as many training rows, if the smallest class has them.
    """
    smallest = int(np.unique(y, return_counts=True)[1].min())
    queries, train = QUERIES_PER_CLASS, train_per_class
    if smallest < queries + train + 1:
        queries = min(queries, max(1, smallest // 7))
        train = min(train, (smallest - queries) // 2)
    # Of four rows, two can be held out.
    if train < 4:
        raise ValueError(f"the smallest class has {smallest} rows, which is too few: drop it, or join it with another.")
    pool = 2 * train if smallest >= queries + 2 * train + 1 else train
    return Counts(queries, train, pool)


def n_unseen(n_classes):
    """Say how many of the classes are for retrieval only."""
    return max(2, round(UNSEEN_SHARE * n_classes))


def split_seen(y, counts, seed):
    return retrieval_split(y, n_queries_per_class=counts.queries, n_train_per_class=counts.train, random_state=seed)


def split_few_labels(y, counts, seed):
    return retrieval_split(y, n_queries_per_class=counts.queries, n_train_per_class=counts.pool, random_state=seed)


def split_unseen(y, counts, seed):
    return unseen_class_split(
        y,
        n_unseen_classes=n_unseen(len(np.unique(y))),
        n_queries_per_class=counts.queries,
        n_train_per_class=counts.train,
        random_state=seed,
    )


def mask_labels(y, n_labels, seed):
    """Keep the labels of `n_labels` random rows of each class, and replace the others by -1."""
    random = check_random_state(seed)
    masked = np.full_like(y, UNLABELLED)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        if len(rows) < n_labels:
            raise ValueError(f"class {label} has {len(rows)} training rows, {n_labels} labels were asked for.")
        masked[random.permutation(rows)[:n_labels]] = label
    return masked


def hold_out(y, what, seed):
    """Divide training rows into such that a setting is fitted on, and such that it is judged by.

    Parameters
    ----------
    y : ndarray of shape (n_train,)
        Classes of the training rows; those that are -1 are never judged by.

    what : {"rows", "classes"}
        A fifth of the rows of each class, at least two, or all rows of three tenths of the classes, at least two. Of
        many rows, 3,000 are held out, and of the others 10,000 are fitted on.

    seed : int
        Seed of the draw.

    Returns
    -------
    fitted, held_out : ndarray of int
        Positions in `y`, ascending, and disjoint.
    """
    random = check_random_state(seed)
    classes = np.unique(y[y != UNLABELLED])
    if what == "classes":
        if len(classes) < 4:
            raise ValueError(f"{len(classes)} training classes are too few to hold 2 of them out; 4 are needed.")
        chosen = random.permutation(classes)[: n_unseen(len(classes))]
        held_out = np.flatnonzero(np.isin(y, chosen))
    else:
        parts = []
        for label in classes:
            rows = random.permutation(np.flatnonzero(y == label))
            parts.append(rows[: max(2, round(VALIDATION_SHARE * len(rows)))])
        held_out = np.sort(np.concatenate(parts))
    fitted = np.setdiff1d(np.arange(len(y)), held_out)
    return _some_rows(fitted, MOST_ROWS_TO_TUNE, random), _some_rows(held_out, MOST_ROWS_HELD_OUT, random)


def _some_rows(rows, most, random):
    return rows if len(rows) <= most else np.sort(random.permutation(rows)[:most])


def chunks_of(y, n_chunks, seed):
    """Let training rows arrive in random order, in chunks that hold rows of each class."""
    random = check_random_state(seed)
    arrival = np.empty(len(y))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        arrival[rows] = (random.permutation(len(rows)) + random.uniform()) / len(rows)
    return np.array_split(np.argsort(arrival, kind="stable"), n_chunks)
