"""Rows that are held out of a training."""

import numpy as np

# More rows than this say nothing more about an epoch, and scoring them would take longer than the epoch.
_MAX_VALIDATION_ROWS = 2000


def validation_rows(targets, fraction, random):
    """Draw rows that are held out of the training to score it, class by class.

    Parameters
    ----------
    targets : Targets
        Of all rows.

    fraction : float or None
        Share of the labelled rows.

    random : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    rows : ndarray of shape (n_validation,), dtype intp
        Positions, none where the rows are too few: a class takes part with at least two rows, as each is ranked
        against the others, and a ranking needs relevant rows as well as others.
    """
    nothing = np.empty(0, dtype=np.intp)
    labelled = targets.labelled
    if fraction is None:
        return nothing
    fraction = min(fraction, _MAX_VALIDATION_ROWS / len(labelled))
    shuffled = random.permutation(labelled)
    if targets.labels.ndim == 2:
        rows = shuffled[: int(fraction * len(shuffled))]
    else:
        parts = []
        for number in range(len(targets.classes)):
            members = shuffled[targets.labels[shuffled] == number]
            n_rows = int(fraction * len(members))
            parts.append(members[: n_rows if n_rows > 1 else 0])
        rows = np.concatenate(parts)
    rows = np.sort(rows)
    indicators = targets.indicators_of(rows)
    relevant = indicators @ indicators.T > 0
    np.fill_diagonal(relevant, False)
    n_pairs = len(rows) * (len(rows) - 1)
    return rows if 0 < relevant.sum() < n_pairs else nothing
