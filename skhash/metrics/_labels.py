"""Labels to graded relevance: which database items are relevant to a query, and how much.

Class labels give two levels: 1 where the classes are equal, else 0. Indicator labels (one column a label, 0
or 1) give the number of labels that the two items share. Level 0 is irrelevant, everything above is relevant.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from ..codes import pack_bits, to_words

# Labels that are looked at together.
_BLOCK_LABELS = 2**14


@dataclass(frozen=True)
class LoopRelevance:
    """Relevance in the form that loops over pairs take.

    The level of a pair is the number of indicators that its bytes share, plus 1 where the item, in the given order of
    the database, is from `first_relevant` to before `last_relevant` of the query.
    """

    order: NDArray[np.intp] | slice
    first_relevant: NDArray[np.intp]
    last_relevant: NDArray[np.intp]
    query_bytes: NDArray[np.uint8]
    database_bytes: NDArray[np.uint8]


@dataclass(frozen=True)
class ClassRelevance:
    """Relevance of items that have one class each, encoded as integers."""

    query_classes: NDArray[np.intp]
    database_classes: NDArray[np.intp]
    n_levels: int = 2
    n_words: int = 0

    def levels(self, rows, columns):
        """Return the levels of a block of pairs, booleans of shape (n_rows, n_columns)."""
        return self.query_classes[rows, None] == self.database_classes[columns]

    def own_levels(self, rows):
        """Return the level of every query to itself."""
        return np.ones(len(self.query_classes[rows]), dtype=np.intp)

    def for_loops(self):
        """Sort the database by class, so that the relevant items of a query lie together."""
        order = np.argsort(self.database_classes, kind="stable")
        sorted_classes = self.database_classes[order]
        return LoopRelevance(
            order=order,
            first_relevant=np.searchsorted(sorted_classes, self.query_classes, side="left"),
            last_relevant=np.searchsorted(sorted_classes, self.query_classes, side="right"),
            query_bytes=np.empty((len(self.query_classes), 0), dtype=np.uint8),
            database_bytes=np.empty((len(self.database_classes), 0), dtype=np.uint8),
        )


@dataclass(frozen=True)
class IndicatorRelevance:
    """Relevance of items that have several labels each, packed into 64-bit words."""

    query_words: NDArray[np.uint64]
    database_words: NDArray[np.uint64]
    n_levels: int

    def levels(self, rows, columns):
        """Return the number of shared labels of a block of pairs, shape (n_rows, n_columns)."""
        shared = self.query_words[:, rows, None] & self.database_words[:, None, columns]
        return np.bitwise_count(shared).sum(axis=0, dtype=np.intp)

    def own_levels(self, rows):
        """Return the number of labels of every query."""
        return np.bitwise_count(self.query_words[:, rows]).sum(axis=0, dtype=np.intp)

    @property
    def n_words(self):
        """Number of words that are compared for a pair."""
        return len(self.query_words)

    def for_loops(self):
        """Take the words apart into bytes, and keep those in which both sides have labels."""
        query_bytes, database_bytes = (
            np.ascontiguousarray(words.T).view(np.uint8) for words in (self.query_words, self.database_words)
        )
        used = query_bytes.any(axis=0) & database_bytes.any(axis=0)
        nowhere = np.zeros(len(query_bytes), dtype=np.intp)
        return LoopRelevance(
            order=slice(None),
            first_relevant=nowhere,
            last_relevant=nowhere,
            query_bytes=np.ascontiguousarray(query_bytes[:, used]),
            database_bytes=database_bytes[:, used],
        )


def relevance_from_labels(query_labels, database_labels, n_queries, n_database):
    """Check labels and return the relevance between queries and database.

    Parameters
    ----------
    query_labels : array-like of shape (n_queries,) or (n_queries, n_labels)
        Classes of any hashable type, or 0/1 indicators.

    database_labels : array-like of shape (n_database,) or (n_database, n_labels), or None
        Of the same kind; None where the queries are the database.

    n_queries : int
        Number of query codes.

    n_database : int
        Number of database codes.

    Returns
    -------
    relevance : ClassRelevance or IndicatorRelevance
        Gives the levels of blocks of pairs.
    """
    query_labels = check_labels(query_labels, n_queries, name="query_labels")
    if database_labels is None:
        database_labels = query_labels
    else:
        database_labels = check_labels(database_labels, n_database, name="database_labels")
    if query_labels.ndim != database_labels.ndim:
        raise ValueError(
            f"query_labels has shape {query_labels.shape} and database_labels {database_labels.shape}; "
            "pass classes (1D) for both or indicators (2D) for both."
        )
    if query_labels.ndim == 1:
        return _class_relevance(query_labels, database_labels)
    return _indicator_relevance(query_labels, database_labels)


def check_labels(labels, n_samples, *, name):
    """Check the labels of items: one class each, or a row of zeros and ones each.

    Parameters
    ----------
    labels : array-like of shape (n_samples,) or (n_samples, n_labels)
        Classes of any hashable type, among them -1 for unlabelled items, or 0/1 indicators of at least two
        labels.

    n_samples : int
        Number of items, of which each has a code.

    name : str
        What to call the labels in messages, like "HammingNearestNeighbors: y".

    Returns
    -------
    labels : ndarray of shape (n_samples,) or (n_samples, n_labels)
        The same as an array, not copied where they are one.

    Raises
    ------
    ValueError
        If labels are None, sparse, ragged, not hashable or no array of one or two dimensions, their number is
        not `n_samples`, classes hold missing values, or indicators anything but zeros and ones.
    """
    labels = _to_array(labels, name)
    if labels.ndim not in (1, 2):
        raise ValueError(f"{name} has shape {labels.shape}; pass classes (n_items,) or indicators (n_items, n_labels).")
    if labels.ndim == 2 and labels.shape[1] < 2:
        raise ValueError(f"{name} has shape {labels.shape}; pass classes as a 1D array, with `.ravel()`.")
    if len(labels) != n_samples:
        raise ValueError(f"{name} has {len(labels)} items and its codes have {n_samples}; pass one label per code.")
    if labels.ndim == 1:
        _check_classes(labels, name)
    else:
        _check_indicators(labels, name)
    return labels


def _to_array(labels, name):
    if labels is None:
        raise ValueError(f"{name} is None; retrieval is scored against labels, pass one per item.")
    if hasattr(labels, "tocsr"):
        raise ValueError(f"{name} is a sparse {type(labels).__name__}; call `.toarray()`.")
    if np.ma.is_masked(labels):
        raise ValueError(f"{name} holds missing values (masked ones); leave these items out.")
    try:
        array = np.asarray(labels)
    except ValueError as error:
        raise ValueError(
            f"{name} is a ragged sequence; turn lists of labels into indicators with sklearn's MultiLabelBinarizer."
        ) from error
    if array.dtype.kind in "US" and isinstance(labels, (list, tuple)) and len(set(map(type, labels))) > 1:
        # NumPy makes strings of the numbers in ["cat", 1].
        return np.asarray(labels, dtype=object)
    return array


def _check_classes(labels, name):
    try:
        classes = _distinct(labels)
    except TypeError as error:
        raise ValueError(f"{name} holds objects that are not hashable ({error}); use numbers or strings.") from error
    if any(_is_missing(label) for label in classes):
        raise ValueError(f"{name} holds missing values (NaN, None or NA); leave these items out.")


def _check_indicators(labels, name):
    if labels.dtype.kind not in "buif":
        raise ValueError(f"{name} has dtype {labels.dtype}; a 2D array of labels is an indicator of zeros and ones.")
    for batch in gen_batches(len(labels), _BLOCK_LABELS):
        values = labels[batch]
        wrong = (values != 0) & (values != 1)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise ValueError(
                f"{name} holds {values[row, column]} at row {batch.start + row}; a 2D array of labels is an indicator "
                "of zeros and ones."
            )


def _class_relevance(query_labels, database_labels):
    # Python objects compare exactly where a common dtype would not: "1" != 1, and 2**53 + 1 != 2.0**53.
    classes = [_distinct(labels) for labels in (query_labels, database_labels)]
    kinds = [_kinds_of_classes(*pair) for pair in zip(classes, ("query_labels", "database_labels"), strict=True)]
    if kinds[0].isdisjoint(kinds[1]):
        raise ValueError(
            f"query_labels hold {' and '.join(sorted(kinds[0]))}, database_labels "
            f"{' and '.join(sorted(kinds[1]))}, which are never equal; use one type."
        )
    numbers = {label: number for number, label in enumerate(classes[0] | classes[1])}
    return ClassRelevance(_encoded(query_labels, numbers), _encoded(database_labels, numbers))


def _distinct(labels):
    """Collect the different labels as Python objects, of which few exist at a time."""
    distinct = set()
    for batch in gen_batches(len(labels), _BLOCK_LABELS):
        distinct.update(labels[batch].tolist())
    return distinct


def _encoded(labels, numbers):
    encoded = np.empty(len(labels), dtype=np.intp)
    for batch in gen_batches(len(labels), _BLOCK_LABELS):
        encoded[batch] = [numbers[label] for label in labels[batch].tolist()]
    return encoded


def _kinds_of_classes(classes, name):
    """Return which of strings, bytes and other objects occur, after refusing the label of unlabelled items."""
    # The supervised hashers read -1 as "unlabelled". Counted as a class, all unlabelled pairs would be relevant.
    if -1 in classes:
        raise ValueError(
            f"{name} holds -1, which means unlabelled in this package; leave these items out of the evaluation, "
            "or rename the class."
        )
    return {_kind(label) for label in classes}


def _kind(label):
    if isinstance(label, str):
        return "strings"
    return "bytes" if isinstance(label, bytes) else "numbers or objects"


def _is_missing(label):
    if label is None:
        return True
    try:
        return bool(label != label)
    except TypeError:  # pandas.NA has no truth value
        return True


def _indicator_relevance(query_labels, database_labels):
    if query_labels.shape[1] != database_labels.shape[1]:
        raise ValueError(
            f"query_labels has {query_labels.shape[1]} label columns and database_labels "
            f"{database_labels.shape[1]}; use the same columns for both."
        )
    packed = [to_words(pack_bits(labels)) for labels in (query_labels, database_labels)]
    most_labels = [int(np.bitwise_count(words).sum(axis=0).max()) for words in packed]
    return IndicatorRelevance(*packed, n_levels=min(most_labels) + 1)
