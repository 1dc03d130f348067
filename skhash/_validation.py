"""Input checks that estimators and functions share, with errors of one line that name the fix."""

from copy import copy
from numbers import Integral, Real

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


# Letters of a value that messages show.
_SHOWN_LETTERS = 80
_MESSAGE_LETTERS = 1000


def shown(value):
    """Write a value in one line for a message, cut where it is long.

    Parameters
    ----------
    value : object
        Anything, among it what cannot be written.

    Returns
    -------
    text : str
        At most 80 letters.
    """
    try:
        text = " ".join(repr(value).split())
    # What a foreign class raises while it is written must not hide what is wrong with it.
    except Exception:
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= _SHOWN_LETTERS else f"{text[: _SHOWN_LETTERS - 3]}..."


def refuse_masked(values, *, name):
    """Refuse masked values, whose masks NumPy and scikit-learn drop.

    Parameters
    ----------
    values : object
        What the caller passed.

    name : str
        What to call it in errors.

    Raises
    ------
    ValueError
        If it is a masked array with masked values.
    """
    if np.ma.is_masked(values):
        raise ValueError(f"{name}: {np.ma.count_masked(values)} values are masked; drop or fill them.")


def as_array(values, *, name):
    """Make an array of what the caller passed, refusing what NumPy would drop.

    Parameters
    ----------
    values : array-like
        Anything but a sparse matrix.

    name : str
        What to call it in errors.

    Returns
    -------
    array : ndarray
        Of any dtype and shape; not copied where it is one.

    Raises
    ------
    TypeError
        If it cannot be made an array.
    ValueError
        If it is ragged, or values are masked.
    """
    refuse_masked(values, name=name)
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name}: {' '.join(str(error).split())}") from error
    # Foreign containers raise what they like, such as torch for a tensor that needs a gradient.
    except Exception as error:
        raise TypeError(f"{name}: no array can be made of it ({type(error).__name__}: {shown(error)}).") from error


def check_count(value, *, name, least=1):
    """Check that a number of things is an integer, and large enough.

    Parameters
    ----------
    value : object
        What was given.

    name : str
        Owner and name of the parameter, for errors.

    least : int, default=1
        The smallest number allowed.

    Returns
    -------
    count : int
        The same; an int of Python, which does not overflow.

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If it is below `least`.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise TypeError(f"{name}={shown(value)} must be an integer.")
    if value < least:
        raise ValueError(f"{name}={shown(value)} must be >= {least}.")
    return int(value)


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
    refuse_masked(X, name=f"{name}: features")
    if accept_sparse and sparse.issparse(X):
        _check_places(X, name)
    try:
        # With dtype="numeric", strings in arrays of objects would be read as numbers.
        X = validate_data(
            estimator,
            X,
            reset=reset,
            accept_sparse="csr" if accept_sparse else False,
            dtype=None,
            ensure_min_samples=ensure_min_samples,
            ensure_all_finite=False,
        )
    except (TypeError, ValueError) as error:
        raise _in_one_line(name, error) from error
    if sparse.issparse(X) and not X.has_canonical_format:
        # Rows with sorted places sum alike, and compiled loops would sort those of the caller.
        X = X.copy()
        X.sum_duplicates()
    if X.dtype.kind == "O" and not sparse.issparse(X):
        X = _numbers_from_objects(X, name)
    if X.dtype.kind not in "biuf":
        raise TypeError(f"{name}: features must be real numbers, got dtype {X.dtype}; convert them before this step.")
    if not X.dtype.isnative:
        # Another byte order would be taken for another dtype.
        X = X.astype(X.dtype.newbyteorder("="))
    if X.dtype == np.longdouble:
        # What does not fit becomes infinite, and is refused as that.
        with np.errstate(over="ignore"):
            X = X.astype(np.float64)
    return X


def check_names(estimator, X, *, reset):
    """Check the names and the number of the columns alone.

    Parameters
    ----------
    estimator : estimator
        Named in the errors; receives ``n_features_in_`` when `reset`.

    X : {ndarray, data frame} of shape (n_samples, n_features)
        Rows.

    reset : bool
        Whether this is a fit.

    Raises
    ------
    TypeError, ValueError
        If there are others than in the fit, or names that are none.
    """
    try:
        validate_data(estimator, X, reset=reset, skip_check_array=True)
    except (TypeError, ValueError) as error:
        raise _in_one_line(type(estimator).__name__, error) from error


def _check_places(X, name):
    """Refuse sparse matrices whose indices lead out of them: SciPy's compiled loops would follow these."""
    try:
        if X.format == "coo":
            for places, size in zip(X.coords, X.shape, strict=True):
                if len(places) != len(X.data) or (len(places) and not 0 <= places.min() <= places.max() < size):
                    raise ValueError(f"coordinates are not from 0 to {size - 1}, or not as many as values")
        elif hasattr(X, "check_format"):
            # A copy that shares the arrays, as the check may cut what they have to spare.
            copy(X).check_format(full_check=True)
    except ValueError as error:
        raise ValueError(f"{name}: the sparse matrix is not consistent ({shown(error)}); make it anew.") from error


def first_of_other_types(array, allowed, refused):
    """Find the first object of a type that is not allowed.

    Parameters
    ----------
    array : ndarray, dtype object
        Objects.

    allowed, refused : tuple of type
        Of which an object must be, and, of their subclasses, must not be.

    Returns
    -------
    found : tuple of tuple of int and object, or None
        Its place and the object itself.
    """
    # There are few types among many objects.
    kinds = set(map(type, array.flat))
    others = {kind for kind in kinds if not issubclass(kind, allowed) or issubclass(kind, refused)}
    if not others:
        return None
    return next((place, value) for place, value in np.ndenumerate(array) if type(value) in others)


def _numbers_from_objects(X, name):
    found = first_of_other_types(X, (Real, np.bool_), (np.timedelta64,))
    if found:
        (row, column), value = found
        raise TypeError(
            f"{name}: argument must be real numbers, not a string or object, got {shown(value)} at row {row}, "
            f"column {column}; a number is needed in each place, convert them before this step."
        )
    try:
        return X.astype(np.float64)
    except OverflowError as error:
        raise ValueError(f"{name}: features hold integers that are too large for float64; scale them.") from error


def _in_one_line(name, error):
    """Make the error anew: frames raise subclasses of their own."""
    return (TypeError if isinstance(error, TypeError) else ValueError)(_one_line(name, error))


def _one_line(name, error):
    message = str(error)
    # The list of names that differ is left as it is: one line of it would be unreadable.
    if message.startswith("The feature names should match"):
        return message
    message = " ".join(message.split())
    # scikit-learn shows values whole.
    message = message if len(message) <= _MESSAGE_LETTERS else f"{message[:_MESSAGE_LETTERS]}..."
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
