"""Queries, training set and database of the retrieval protocols, drawn from a seed and carrying a hash."""

import hashlib
from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils import Bunch, check_random_state

from .._sklearn import Interval, StrOptions, validate_params
from .._validation import check_count, refuse_masked, shown

_COUNT = Interval(Integral, 1, None, closed="left")


@validate_params(
    {
        "y": ["array-like", "sparse matrix"],
        "n_queries_per_class": [_COUNT],
        "n_train_per_class": [_COUNT, None],
        "database": [StrOptions({"rest", "all_but_queries"})],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def retrieval_split(
    y: ArrayLike,
    *,
    n_queries_per_class: int,
    n_train_per_class: int | None,
    database: str = "rest",
    random_state=None,
) -> Bunch:
    """Split a labeled dataset into queries, training set and database, all of the same classes.

    From every class, `n_queries_per_class` rows and then `n_train_per_class` others are drawn without
    replacement. This is the protocol of most of the literature; the usual settings for the 60000 images of
    CIFAR-10 are

    ===================  =================  ===================  =======  ========  ========
    n_queries_per_class  n_train_per_class  database             queries  training  database
    ===================  =================  ===================  =======  ========  ========
    100                  500                "rest"                  1000      5000     54000
    100                  500                "all_but_queries"       1000      5000     59000
    1000                 None               "all_but_queries"      10000     50000     50000
    ===================  =================  ===================  =======  ========  ========

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Class of each row: integers, also as floats, booleans or strings.

    n_queries_per_class : int
        Queries drawn from every class.

    n_train_per_class : int or None
        Training rows drawn from every class. None takes all rows that are no queries.

    database : {"rest", "all_but_queries"}, default="rest"
        Whether the database leaves the training rows out ("rest") or contains them ("all_but_queries").
        Queries are never in it.

    random_state : int, RandomState instance or None, default=None
        Seed of the draw. The same seed gives the same split with every version of NumPy.

    Returns
    -------
    split : :class:`~sklearn.utils.Bunch`
        With the attributes

        query, train, database : ndarray of int64
            Positions in `y`, ascending.
        split_hash : str
            SHA-256 of the three, to state in a table which split it was measured on.

    Raises
    ------
    ValueError
        If `y` is not one-dimensional, is empty, or holds missing values or real numbers; a class has too few
        rows; or nothing is left for the database.
    TypeError
        If `y` mixes strings and numbers.

    See Also
    --------
    unseen_class_split : Retrieval among classes that no training row has.

    Notes
    -----
    Choose parameters, epochs and thresholds on a part of the training rows. The queries are the test set.

    Examples
    --------
    >>> from skhash.datasets import retrieval_split
    >>> y = ["cat", "dog"] * 5
    >>> split = retrieval_split(y, n_queries_per_class=1, n_train_per_class=2, random_state=0)
    >>> split.query, split.train, split.database
    (array([1, 4]), array([0, 2, 3, 5]), array([6, 7, 8, 9]))
    """
    n_queries_per_class, n_train_per_class = _check_counts("retrieval_split", n_queries_per_class, n_train_per_class)
    if n_train_per_class is None and database == "rest":
        raise ValueError(
            "retrieval_split: n_train_per_class=None leaves nothing for database='rest'; "
            "give a number, or database='all_but_queries'."
        )
    classes, labels = _check_labels(y, "retrieval_split")
    n_train = n_train_per_class or 0
    n_reserved = n_queries_per_class + (n_train if database == "rest" else 0)
    _check_class_sizes(
        classes,
        labels,
        range(len(classes)),
        max(n_reserved + 1, n_queries_per_class + n_train),
        purpose=f"{n_queries_per_class=}, {n_train_per_class=} and at least one row in {database=}",
        caller="retrieval_split",
    )
    rng = check_random_state(random_state)
    drawn = [rng.permutation(np.flatnonzero(labels == label)) for label in range(len(classes))]
    return _make_split(
        query=[rows[:n_queries_per_class] for rows in drawn],
        train=[rows[n_queries_per_class:][:n_train_per_class] for rows in drawn],
        database=[rows[n_reserved:] for rows in drawn],
        train_in_database=database == "all_but_queries",
    )


@validate_params(
    {
        "y": ["array-like", "sparse matrix"],
        "n_unseen_classes": [
            Interval(Integral, 2, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
        ],
        "n_queries_per_class": [_COUNT],
        "n_train_per_class": [_COUNT, None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def unseen_class_split(
    y: ArrayLike,
    *,
    n_unseen_classes: int | float,
    n_queries_per_class: int,
    n_train_per_class: int | None = None,
    random_state=None,
) -> Bunch:
    """Split a labeled dataset so that queries and database are of classes that the training set lacks.

    Where all classes are known in training, the output of a classifier, written as a one-hot code, retrieves
    better than most hash codes [1]_, so the usual protocol says little about codes. Here the classes are
    divided first: rows of the seen classes are for training only, rows of the unseen ones are queries and
    database.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Class of each row: integers, also as floats, booleans or strings.

    n_unseen_classes : int or float
        Number of classes that are drawn for retrieval, or a fraction between 0 and 1 of the classes, rounded.
        At least two, as retrieval among one class is always perfect, and at most all but one.

    n_queries_per_class : int
        Queries drawn from every unseen class; the other rows of the class are the database.

    n_train_per_class : int or None, default=None
        Training rows drawn from every seen class. None takes all of them.

    random_state : int, RandomState instance or None, default=None
        Seed of the draw. The same seed gives the same split with every version of NumPy.

    Returns
    -------
    split : :class:`~sklearn.utils.Bunch`
        With the attributes

        query, train, database : ndarray of int64
            Positions in `y`, ascending.
        train_classes, unseen_classes : ndarray
            Sorted labels of the training set, and of the queries and the database.
        split_hash : str
            SHA-256 of the three sets of positions, to state in a table which split it was measured on.

    Raises
    ------
    ValueError
        If `y` is not one-dimensional, is empty, or holds missing values or real numbers; a class has too few
        rows; or `n_unseen_classes` leaves less than two unseen classes or no seen one.
    TypeError
        If `y` mixes strings and numbers.

    See Also
    --------
    retrieval_split : The same classes throughout.

    Notes
    -----
    Results depend on the draw of the classes more than on anything else: average over several seeds.

    References
    ----------
    .. [1] A. Sablayrolles, M. Douze, N. Usunier, H. Jégou, "How should we evaluate supervised hashing?",
       ICASSP 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skhash.datasets import unseen_class_split
    >>> y = np.repeat(["cat", "cow", "dog", "pig"], 5)
    >>> split = unseen_class_split(y, n_unseen_classes=2, n_queries_per_class=1, random_state=0)
    >>> split.train_classes.tolist(), split.unseen_classes.tolist()
    (['cat', 'cow'], ['dog', 'pig'])
    >>> len(split.query), len(split.train), len(split.database)
    (2, 10, 8)
    """
    n_queries_per_class, n_train_per_class = _check_counts("unseen_class_split", n_queries_per_class, n_train_per_class)
    classes, labels = _check_labels(y, "unseen_class_split")
    n_unseen = _count_unseen_classes(n_unseen_classes, len(classes))
    rng = check_random_state(random_state)
    drawn_classes = rng.permutation(len(classes))
    unseen, seen = np.sort(drawn_classes[:n_unseen]), np.sort(drawn_classes[n_unseen:])
    _check_class_sizes(
        classes,
        labels,
        unseen,
        n_queries_per_class + 1,
        purpose=f"{n_queries_per_class=} and at least one row in the database",
        caller="unseen_class_split",
    )
    _check_class_sizes(
        classes,
        labels,
        seen,
        n_train_per_class or 1,
        purpose=f"{n_train_per_class=}",
        caller="unseen_class_split",
    )
    retrieval = [rng.permutation(np.flatnonzero(labels == label)) for label in unseen]
    training = [rng.permutation(np.flatnonzero(labels == label)) for label in seen]
    split = _make_split(
        query=[rows[:n_queries_per_class] for rows in retrieval],
        train=[rows[:n_train_per_class] for rows in training],
        database=[rows[n_queries_per_class:] for rows in retrieval],
    )
    return Bunch(**split, train_classes=classes[seen], unseen_classes=classes[unseen])


def _check_counts(caller, n_queries_per_class, n_train_per_class):
    """Return both as int, which does not overflow."""
    n_queries_per_class = check_count(n_queries_per_class, name=f"{caller}: n_queries_per_class")
    if n_train_per_class is not None:
        n_train_per_class = check_count(n_train_per_class, name=f"{caller}: n_train_per_class")
    return n_queries_per_class, n_train_per_class


def _count_unseen_classes(n_unseen_classes, n_classes):
    is_fraction = not isinstance(n_unseen_classes, Integral)
    n_unseen = round(n_unseen_classes * n_classes) if is_fraction else int(n_unseen_classes)
    if not 2 <= n_unseen < n_classes:
        raise ValueError(
            f"unseen_class_split: n_unseen_classes={n_unseen_classes}"
            + (f" gives {n_unseen} of {n_classes} classes, which" * is_fraction)
            + f" must be >= 2 and < n_classes={n_classes}."
        )
    return n_unseen


def _check_labels(y, caller):
    """Return the sorted classes, and the class of each row as a position among them."""
    y = _as_vector(y, caller)
    if len(y) == 0:
        raise ValueError(f"{caller}: y is empty, it must hold at least one row per class.")
    for position in _positions_of_non_labels(y):
        raise ValueError(
            f"{caller}: y[{position}]={shown(y.tolist()[position])} is no class; classes are integers, booleans "
            "or strings, so drop rows without a class first."
        )
    try:
        return np.unique(y, return_inverse=True)
    except TypeError as error:
        raise TypeError(f"{caller}: y mixes strings and numbers ({error}); convert all to strings.") from error


def _as_vector(y, caller):
    try:
        shape = y.shape if sparse.issparse(y) else np.shape(y)
    except ValueError:
        shape = "(n_samples, of different lengths)"
    if sparse.issparse(y) or len(shape) != 1:
        raise ValueError(
            f"{caller}: y must be one class per row, got shape {shape}; use y.ravel() for a column, and draw "
            "multi-label rows at random, e.g. with sklearn.model_selection.ShuffleSplit."
        )
    refuse_masked(y, name=f"{caller}: y")
    array = np.asarray(y)
    if array.dtype.kind in "US" and isinstance(y, (list, tuple)):
        # NumPy makes strings of the numbers in ["cat", 1].
        return np.asarray(y, dtype=object) if len({isinstance(label, str) for label in y}) > 1 else array
    return array


def _positions_of_non_labels(y):
    if y.dtype.kind in "biuU":
        return []
    return (position for position, value in enumerate(y.tolist()) if not _is_label(value))


def _is_label(value):
    return isinstance(value, (str, Integral)) or (isinstance(value, Real) and float(value).is_integer())


def _check_class_sizes(classes, labels, positions, n_needed, *, purpose, caller):
    counts = np.bincount(labels, minlength=len(classes))
    for position in positions:
        if counts[position] < n_needed:
            raise ValueError(
                f"{caller}: class {shown(classes.tolist()[position])} has {counts[position]} rows, {n_needed} are "
                f"needed: {purpose}; ask for fewer, or drop the class."
            )


def _make_split(query, train, database, *, train_in_database=False):
    """Sort the parts, refuse rows that are in two of them, and hash the result."""
    parts = {"query": query, "train": train, "database": database}
    parts = {name: np.sort(np.concatenate(rows)).astype(np.int64) for name, rows in parts.items()}
    pairs = [("query", "train"), ("query", "database")]
    if not train_in_database:
        pairs.append(("train", "database"))
    for first, second in pairs:
        common = np.intersect1d(parts[first], parts[second])
        if len(common):
            raise RuntimeError(f"{len(common)} rows are both in {first} and in {second}, first row {common[0]}.")
    return Bunch(**parts, split_hash=_hash_parts(parts))


def _hash_parts(parts):
    digest = hashlib.sha256()
    for name, rows in parts.items():
        digest.update(f"{name}:{len(rows)};".encode())
        digest.update(rows.astype("<i8").tobytes())
    return digest.hexdigest()
