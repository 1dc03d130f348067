"""Folds to choose settings by: rows and classes are held out, and each held-out row is a query for the others."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..metrics import mean_average_precision

# Classes are divided into as many groups, each of which is held out once; fewer classes can spare none.
_N_GROUPS = 3
_FEWEST_CLASSES = 4


class HeldOutRows(NamedTuple):
    """Rows to score settings on, some of which share a class.

    Attributes
    ----------
    rows : ndarray of int
        Positions, ascending.

    labels : ndarray of shape (n_rows,) or (n_rows, n_classes)
        What tells which of them are relevant to each other: classes, or indicators of several.
    """

    rows: NDArray
    labels: NDArray

    def score(self, codes):
        """Compute the tie-aware mean average precision with each row as a query for the others."""
        return mean_average_precision(codes, None, self.labels, zero_relevant="skip")


class Fold(NamedTuple):
    """Rows to fit to, and others to score on.

    Attributes
    ----------
    fitted : ndarray of int
        Positions of the rows to fit to, ascending; at least one.

    parts : tuple of two HeldOutRows
        Other rows of the classes that are fitted to, and rows of the classes held out; None where no row is relevant
        to another, but not for both.
    """

    fitted: NDArray
    parts: tuple[HeldOutRows | None, HeldOutRows | None]


def draw_groups(targets, random):
    """Divide the classes that have several rows among groups to hold out.

    Parameters
    ----------
    targets : Targets
        Labels of all rows.

    random : numpy.random.RandomState
        Source of the order of the classes.

    Returns
    -------
    groups : list of ndarray of int
        Numbers of classes; no groups where there are fewer than four such classes.
    """
    classes = random.permutation(np.flatnonzero(targets.class_sizes() > 1))
    return np.array_split(classes, min(_N_GROUPS, len(classes) // 2)) if len(classes) >= _FEWEST_CLASSES else []


def hold_out(targets, order, groups, most_rows):
    """Hold out each group of classes in turn, and a third of the other rows.

    Parameters
    ----------
    targets : Targets
        Labels of all rows.

    order : ndarray of int
        Positions of labelled rows in random order.

    groups : list of ndarray of int
        Classes to hold out.

    most_rows : int
        Rows of each kind that a fold is scored on at most.

    Yields
    ------
    fold : Fold
        None of those that leave no row to fit to, as where every row has a label of the group held out, or none to
        score on.
    """
    for group in groups:
        is_held_out = targets.with_any_of(order, group)
        held_out, known = order[is_held_out], order[~is_held_out]
        others, fitted = known[::3], np.sort(np.delete(known, np.s_[::3]))
        parts = tuple(_scored_rows(targets, np.sort(part[:most_rows])) for part in (others, held_out))
        if len(fitted) and any(part is not None for part in parts):
            yield Fold(fitted, parts)


def _scored_rows(targets, rows):
    """Return rows with their labels, or None where no two share a class."""
    indicators = targets.indicators_of(rows)
    if not (indicators.sum(axis=0) > 1).any():
        return None
    known = indicators[:, indicators.any(axis=0)]
    # A row of one class is compared by its class, which is quicker than by indicators.
    return HeldOutRows(rows, known.argmax(axis=1) if (known.sum(axis=1) == 1).all() else known.astype(np.uint8))
