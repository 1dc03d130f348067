"""Input checks that every estimator shares: scikit-learn's, with errors of one line that name the fix."""

import numpy as np
from scipy import sparse
from sklearn.utils.validation import validate_data

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
        Features in float32 if they were, else float64.

    Raises
    ------
    ValueError
        If `X` is no finite matrix of the right width, in one line.
    """
    name = type(estimator).__name__
    try:
        X = validate_data(
            estimator,
            X,
            reset=reset,
            accept_sparse="csr" if accept_sparse else False,
            dtype=[np.float64, np.float32],
            ensure_min_samples=ensure_min_samples,
            ensure_all_finite=False,
        )
    except (TypeError, ValueError) as error:
        raise type(error)(_one_line(name, error)) from error
    _check_finite(name, X)
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


def _check_finite(name, X):
    """Refuse NaN and infinity, naming the first place.

    A finite sum proves that all values are finite and reads the array once, without a temporary of its size.
    """
    values = X.data if sparse.issparse(X) else X
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(values, dtype=np.float64)):
            return
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong) == 0:
        return
    value = values[tuple(wrong[0])]
    kind = "NaN" if np.isnan(value) else "infinity (inf)"
    place = "" if sparse.issparse(X) else f" (first at row {wrong[0][0]}, column {wrong[0][1]})"
    raise ValueError(f"{name}: input X contains {kind}{place}; drop or impute such rows before this step.")
