"""Labels of training rows to class numbers and indicators: one column a class, rows of zeros unlabelled."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ._validation import refuse_masked, shown


@dataclass(frozen=True)
class Targets:
    """Classes of training rows.

    `labels` are what rankings are scored by: class numbers, -1 where unlabelled, or for several labels a row 0/1
    indicators. Indicators of single labels are made for some rows at a time, because those of many rows and classes
    take more memory than the features.
    """

    classes: NDArray
    labels: NDArray

    def __len__(self):
        return len(self.labels)

    @property
    def labelled(self):
        """Positions of the rows that have a class."""
        return np.flatnonzero(self.labels >= 0 if self.labels.ndim == 1 else self.labels.any(axis=1))

    def indicators_of(self, rows) -> NDArray[np.float32]:
        """Return 1 for the classes of some rows, given by a slice or by positions, else 0."""
        labels = self.labels[rows]
        if labels.ndim == 2:
            return labels.astype(np.float32)
        indicators = np.zeros((len(labels), len(self.classes)), dtype=np.float32)
        labelled = np.flatnonzero(labels >= 0)
        indicators[labelled, labels[labelled]] = 1
        return indicators

    def with_any_of(self, rows, classes) -> NDArray[np.bool_]:
        """Tell which of some rows, given by a slice or by positions, are of one of the classes, given by numbers."""
        labels = self.labels[rows]
        return np.isin(labels, classes) if labels.ndim == 1 else labels[:, classes].any(axis=1)

    def select(self, rows) -> "Targets":
        """Return the targets of some rows, given by a slice or by positions."""
        return Targets(self.classes, self.labels[rows])

    def shares(self):
        """Return how a row counts for its classes: 1 / m in each of m, nothing where it is unlabelled.

        Returns
        -------
        shares : csr_array of shape (n_samples, n_classes), dtype float64
            Rows sum to 1, or are empty.
        """
        if self.labels.ndim == 2:
            indicators = sparse.csr_array(self.labels, dtype=np.float64)
            counts = np.diff(indicators.indptr)
            indicators.data /= np.repeat(counts, counts)
            return indicators
        rows = self.labelled
        shape = (len(self), len(self.classes))
        return sparse.csr_array((np.ones(len(rows)), (rows, self.labels[rows])), shape=shape)

    def class_sizes(self):
        """Count the rows of each class; a row with several labels counts in each of them."""
        return np.bincount(self.shares().indices, minlength=len(self.classes))

    def label_sets(self):
        """Find the different sets of labels that rows have.

        Returns
        -------
        sets : ndarray of shape (n_sets, n_classes), dtype float32
            Indicators.

        members : ndarray of shape (n_samples,), dtype intp
            The set of each row.
        """
        _, first, members = np.unique(self.labels, axis=0, return_index=True, return_inverse=True)
        return self.indicators_of(first), members.reshape(-1)


def encode_labels(name, y, classes=None):
    """Turn labels into numbers of classes, or check indicators.

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
    make_targets = _indicator_targets if values.ndim == 2 else _class_targets
    try:
        targets = make_targets(name, values, classes)
    except (ValueError, TypeError):
        raise
    # Objects that are no labels raise what they like when they are compared.
    except Exception as error:
        raise TypeError(
            f"{name}: y holds objects that are no labels ({shown(error)}); use numbers or strings."
        ) from error
    if len(values) and not len(targets.labelled):
        raise ValueError(
            f"{name}: all {len(values)} rows of y are unlabelled; label some, or use a hasher that needs no labels."
        )
    return targets


def warn_of_signs(name, targets):
    """Warn where -1 stands beside the class 1 alone, which are mostly two classes and not one with unlabelled rows.

    Parameters
    ----------
    name : str
        The estimator, for messages.

    targets : Targets
        Of all rows.
    """
    if targets.labels.ndim == 1 and targets.classes.tolist() == [1] and (targets.labels == -1).any():
        warnings.warn(
            f"{name}: y holds nothing but 1 and -1, and -1 means unlabelled; for two classes pass 0 and 1.",
            UserWarning,
            stacklevel=2,
        )


def _label_array(name, y):
    if y is None:
        raise ValueError(f"{name}: requires y to be passed, but the target y is None; pass one label per row of X.")
    if hasattr(y, "tocsr"):
        raise ValueError(f"{name}: y is a sparse {type(y).__name__}; call `.toarray()`.")
    refuse_masked(y, name=f"{name}: y")
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
            f"{name}: y holds {shown(values[row, column])} at row {row}; indicators are 0 or 1, and zeros all along an "
            "unlabelled row."
        )
    classes = np.arange(values.shape[1]) if classes is None else np.asarray(classes)
    if len(classes) != values.shape[1]:
        raise ValueError(
            f"{name}: y has {values.shape[1]} columns, but {len(classes)} classes are known; pass as many."
        )
    return Targets(classes, values.astype(np.uint8))


def _class_targets(name, values, classes):
    if values.dtype.kind == "O":
        labelled = np.array([isinstance(value, str) or bool(value != -1) for value in values], dtype=bool)
    else:
        # None of these is -1, and NumPy 2.0.0 may crash where it compares unsigned integers with it.
        labelled = np.ones(len(values), dtype=bool) if values.dtype.kind in "USu" else values != -1
    present = _plain(name, values[labelled])
    known, numbers = np.unique(present, return_inverse=True)
    if classes is not None:
        classes = _plain(name, np.asarray(classes))
        # Sorted, so that the search below finds positions in it.
        classes = np.unique(classes)
        new = ~np.isin(known, classes)
        if new.any():
            raise ValueError(
                f"{name}: y holds the class {shown(known[new][0].item())}, which is none of the {len(classes)} known "
                "so far; name all of them by `classes` in the first call of partial_fit, or call fit to start again."
            )
        numbers = np.searchsorted(classes, known)[numbers]
        known = classes
    labels = np.full(len(values), -1, dtype=np.intp)
    labels[labelled] = numbers
    return Targets(known, labels)


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
                f"{name}: y holds {shown(values[wrong][0].item())}, which is no class; pass integers or strings, and "
                "-1 for unlabelled rows."
            )
    elif values.dtype.kind not in "biuUS":
        raise ValueError(f"{name}: y has dtype {values.dtype}; pass integers or strings as classes.")
    return values
