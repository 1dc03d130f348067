"""Labels of training rows to indicators: one column a class, rows of zeros unlabelled."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Targets:
    """Classes of training rows.

    `indicators` is 1 for the classes of a row, else 0; `labels` are what rankings are scored by: class numbers, -1
    where unlabelled, or for several labels a row the indicators themselves.
    """

    classes: NDArray
    indicators: NDArray[np.float32]
    labels: NDArray

    @property
    def labelled(self):
        """Positions of the rows that have a class."""
        return np.flatnonzero(self.indicators.any(axis=1))


def encode_labels(name, y, classes=None):
    """Turn labels into indicators.

    Parameters
    ----------
    name : str
        The estimator, for messages.

    y : array-like of shape (n_samples,) or (n_samples, n_classes)
        Classes, numbers or strings, with the number -1 for unlabelled rows; or 0/1 indicators, with rows of zeros for
        unlabelled ones.

    classes : array-like of shape (n_classes,), default=None
        All classes that may occur; those that do occur by default.

    Returns
    -------
    targets : Targets
        Of all rows.

    Raises
    ------
    ValueError
        If `y` is None, no array of labels, holds missing values or classes that are not in `classes`, or if no row is
        labelled.
    """
    values = _label_array(name, y)
    targets = _indicator_targets(name, values, classes) if values.ndim == 2 else _class_targets(name, values, classes)
    if len(values) and not targets.indicators.any():
        raise ValueError(
            f"{name}: all {len(values)} rows of y are unlabelled; label some, or use a hasher that needs no labels."
        )
    return targets


def _label_array(name, y):
    if y is None:
        raise ValueError(f"{name}: requires y to be passed, but the target y is None; pass one label per row of X.")
    if hasattr(y, "tocsr"):
        raise ValueError(f"{name}: y is a sparse {type(y).__name__}; call `.toarray()`.")
    try:
        values = np.asarray(y)
        # NumPy turns the -1 of ["cat", -1] into the string "-1".
        if values.dtype.kind in "US" and not isinstance(y, np.ndarray):
            values = np.asarray(y, dtype=object)
    except ValueError as error:
        raise ValueError(
            f"{name}: y is ragged; turn lists of labels into indicators by MultiLabelBinarizer."
        ) from error
    if values.ndim not in (1, 2) or (values.ndim == 2 and values.shape[1] < 2):
        raise ValueError(
            f"{name}: y has shape {values.shape}; pass classes (n_samples,), for example by `.ravel()`, or indicators "
            "(n_samples, n_classes)."
        )
    return values


def _indicator_targets(name, values, classes):
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"{name}: y holds {values[row, column]!r} at row {row}; indicators are 0 or 1, and zeros all along an "
            "unlabelled row."
        )
    indicators = values.astype(np.float32)
    classes = np.arange(values.shape[1]) if classes is None else np.asarray(classes)
    if len(classes) != values.shape[1]:
        raise ValueError(
            f"{name}: y has {values.shape[1]} columns, but {len(classes)} classes are known; pass as many."
        )
    return Targets(classes, indicators, indicators.astype(np.uint8))


def _class_targets(name, values, classes):
    if values.dtype.kind == "O":
        labelled = np.array([isinstance(value, str) or bool(value != -1) for value in values], dtype=bool)
    else:
        labelled = np.ones(len(values), dtype=bool) if values.dtype.kind in "US" else values != -1
    present = _plain(name, values[labelled])
    known, numbers = np.unique(present, return_inverse=True)
    if classes is not None:
        classes = _plain(name, np.asarray(classes))
        # Sorted, so that the search below finds positions in it.
        classes = np.unique(classes)
        new = ~np.isin(known, classes)
        if new.any():
            raise ValueError(
                f"{name}: y holds the class {known[new][0].item()!r}, which is none of the {len(classes)} known so "
                "far; name all of them by `classes` in the first call of partial_fit, or call fit to start again."
            )
        numbers = np.searchsorted(classes, known)[numbers]
        known = classes
    labels = np.full(len(values), -1, dtype=np.intp)
    labels[labelled] = numbers
    indicators = np.zeros((len(values), len(known)), dtype=np.float32)
    indicators[np.flatnonzero(labelled), numbers] = 1
    return Targets(known, indicators, labels)


def _plain(name, values):
    """Check the labels of labelled rows, and give them a dtype that sorts."""
    if values.dtype.kind == "O":
        if any(value is None or value != value for value in values):
            raise ValueError(f"{name}: y holds missing values; mark unlabelled rows by -1.")
        if len({isinstance(value, str) for value in values}) > 1:
            raise ValueError(f"{name}: y holds both strings and other classes; use one type.")
        values = np.asarray(values.tolist())
    if values.dtype.kind == "f":
        wrong = values != np.round(values)
        if wrong.any():
            raise ValueError(
                f"{name}: y holds {values[wrong][0].item()!r}, which is no class; pass integers or strings, and -1 for "
                "unlabelled rows."
            )
    elif values.dtype.kind not in "biuUS":
        raise ValueError(f"{name}: y has dtype {values.dtype}; pass integers or strings as classes.")
    return values
