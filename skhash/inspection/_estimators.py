"""What the displays read from a fitted pipeline."""

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted


def fitted_search(estimator, *, caller):
    """Return the fitted Hamming search in which an estimator ends.

    Parameters
    ----------
    estimator : estimator
        A :class:`skhash.RetrievalPipeline`, or a search alone.

    caller : str
        Who asks, for the messages.

    Returns
    -------
    search : estimator
        The last step, with ``codes_``, ``labels_`` and ``ids_``.

    Raises
    ------
    TypeError
        If the estimator does not search, or not among Hamming codes.

    sklearn.exceptions.NotFittedError
        If the search is not fitted.
    """
    if not hasattr(estimator, "kneighbors"):
        raise TypeError(
            f"{caller}: {_describe(estimator)} has no kneighbors; pass a fitted RetrievalPipeline "
            "whose last step is HammingNearestNeighbors."
        )
    search = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    check_is_fitted(search)
    if not hasattr(search, "ids_"):
        raise TypeError(
            f"{caller}: {_describe(estimator)} searches no Hamming codes; pass a fitted RetrievalPipeline "
            "whose last step is HammingNearestNeighbors."
        )
    return search


def database_labels_of(search, *, caller):
    """Return the labels of the database.

    Parameters
    ----------
    search : estimator
        A fitted Hamming search.

    caller : str
        Who asks, for the message.

    Returns
    -------
    labels : ndarray of shape (n_database,) or (n_database, n_labels)
        Labels in the order of the database.

    Raises
    ------
    ValueError
        If the search was fitted without labels.
    """
    if search.labels_ is None:
        raise ValueError(f"{caller}: {type(search).__name__} was fitted without labels; pass y to fit.")
    return search.labels_


def encode(estimator, X):
    """Hash queries with all steps of a pipeline but the search.

    Parameters
    ----------
    estimator : estimator
        A fitted pipeline that ends in a search, or a search alone, which takes codes.

    X : array-like
        Queries, as the first step takes them.

    Returns
    -------
    codes : array-like of shape (n_queries, n_bytes)
        Packed codes.
    """
    if isinstance(estimator, Pipeline) and len(estimator.steps) > 1:
        return estimator[:-1].transform(X)
    return X


def hasher_of(estimator):
    """Return the hasher of a pipeline: the step before the search.

    Parameters
    ----------
    estimator : estimator
        A pipeline that ends in a search, or a search alone.

    Returns
    -------
    hasher : estimator or None
        None where there is no such step.
    """
    steps = [step for _, step in estimator.steps[:-1]] if isinstance(estimator, Pipeline) else []
    hashers = [step for step in steps if step is not None and not isinstance(step, str)]
    return hashers[-1] if hashers else None


def _describe(estimator):
    name = type(estimator).__name__
    return f"{name} of {' -> '.join(key for key, _ in estimator.steps)}" if isinstance(estimator, Pipeline) else name
