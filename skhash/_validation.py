"""Input checks that every estimator shares: scikit-learn's, with errors of one line that name the fix."""

import numpy as np
from scipy import sparse
from sklearn.utils.validation import validate_data

# Rows looked at together: enough to make Python's share small, few enough to stay in the cache.
_BLOCK_ROWS = 1024

# What scikit-learn's messages leave to the reader, by a part of the message.
_FIXES = {
    "sample(s)": " Pass at least that many rows.",
    "features as input": " Pass the features that it was fitted on.",
}


def check_features(estimator, X, *, reset, accept_sparse=False, ensure_min_samples=1):
    """Check a matrix of features for an estimator.

    Parameters
    ----------
    estimator : estimator
        Named in the errors; receives ``n_features_in_`` when `reset`.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Features.

    reset : bool
        Whether this is a fit: records the number and names of the features, otherwise they are compared.

    accept_sparse : bool, default=False
        Whether CSR matrices pass.

    ensure_min_samples : int, default=1
        Fewer rows are refused.

    Returns
    -------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Real numbers in the dtype they came in, not checked for NaN and infinity: `check_finite` does that, or who reads
        them block by block.

    Raises
    ------
    TypeError, ValueError
        If `X` is no matrix of real numbers of the right width, in one line.
    """
    name = type(estimator).__name__
    try:
        X = validate_data(
            estimator,
            X,
            reset=reset,
            accept_sparse="csr" if accept_sparse else False,
            dtype="numeric",
            ensure_min_samples=ensure_min_samples,
            ensure_all_finite=False,
        )
    except (TypeError, ValueError) as error:
        raise type(error)(_one_line(name, error)) from error
    if X.dtype.kind not in "biuf":
        raise TypeError(f"{name}: features must be real numbers, got dtype {X.dtype}; convert them before this step.")
    return X


def _one_line(name, error):
    message = str(error)
    # The list of names that differ is left as it is: one line of it would be unreadable.
    if message.startswith("The feature names should match"):
        return message
    message = " ".join(message.split())
    for part, fix in _FIXES.items():
        if part in message:
            message += fix
    return message if name in message else f"{name}: {message}"


def all_finite(values):
    """Tell whether an array holds neither NaN nor infinity.

    A finite sum of squares proves it in one pass without a temporary. The squares of large values overflow, so a sum
    that is not finite proves nothing.

    Parameters
    ----------
    values : ndarray
        Real numbers.

    Returns
    -------
    finite : bool
        Whether all are finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.vdot(values, values)) or np.isfinite(values).all())


def largest_magnitude(X):
    """Find the largest magnitude, a few rows at a time.

    Parameters
    ----------
    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
        Finite real numbers.

    Returns
    -------
    magnitude : float
        Largest absolute value, of rows that may be larger than the memory.
    """
    values = X.data if sparse.issparse(X) else X
    starts = range(0, len(values), _BLOCK_ROWS)
    return max((float(np.abs(values[start : start + _BLOCK_ROWS]).max()) for start in starts), default=0.0)


def check_finite(estimator, X):
    """Refuse NaN and infinity, naming the first place.

    Parameters
    ----------
    estimator : estimator
        Named in the error.

    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
        Real numbers of any dtype.

    Raises
    ------
    ValueError
        If one of them is not finite, in one line.
    """
    if X.dtype.kind != "f":
        return
    values = X.data if sparse.issparse(X) else X
    # A sparse matrix of zeros has no values at all, which `gen_batches` would refuse.
    for start in range(0, len(values), _BLOCK_ROWS):
        block = values[start : start + _BLOCK_ROWS]
        if all_finite(block):
            continue
        wrong = tuple(np.argwhere(~np.isfinite(block))[0])
        kind = "NaN" if np.isnan(block[wrong]) else "infinity (inf)"
        place = "" if sparse.issparse(X) else f" (first at row {start + wrong[0]}, column {wrong[1]})"
        raise ValueError(
            f"{type(estimator).__name__}: input X contains {kind}{place}; drop or impute such rows before this step."
        )
