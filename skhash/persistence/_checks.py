"""What must fit together before compiled loops may see it: checksums say that a file is whole, not that it is sound."""

import numpy as np
from sklearn.pipeline import Pipeline

from .._checked_map import CheckedMap
from ..neighbors import HammingNearestNeighbors
from ..neighbors._engine import SearchEngine
from ..neighbors._hamming import _Database
from ..neighbors._stored_vectors import StoredVectors
from ..pipeline import RetrievalPipeline, _KeptFeatures

# OpenMP ends the process where it is asked for a number of threads that cannot be.
_MOST_THREADS = 2**16


def check_state(name, state, error):
    """Check the attributes of an object before it is made of them.

    Parameters
    ----------
    name : str
        Name of its class in files.

    state : dict
        Its attributes.

    error : callable
        Makes the error for a message.

    Raises
    ------
    FileFormatError
        If they do not fit together.
    """
    check = _STATE_CHECKS.get(name)
    if check is not None:
        check(state, error)


def check_object(value, error):
    """Check a loaded object.

    Parameters
    ----------
    value : object
        Just made.

    error : callable
        Makes the error for a message.

    Raises
    ------
    FileFormatError
        If its parts do not fit together.
    """
    if isinstance(value, HammingNearestNeighbors):
        _check_search(value, error)
    elif isinstance(value, Pipeline):
        _check_pipeline(value, error)
    elif type(value).__module__.startswith(("sklearn.cluster.", "sklearn.neighbors.")):
        _check_compiled_of_sklearn(value, error)


def _is_array(value, n_dimensions, dtype=None):
    is_array = isinstance(value, np.ndarray | CheckedMap) and value.ndim == n_dimensions
    return is_array and (dtype is None or value.dtype == dtype)


def _is_count(value):
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and 0 <= value < 2**62


def _check_engine(state, error):
    codes = state.get("codes")
    if state.keys() != {"codes"} or not _is_array(codes, 2, np.uint8) or codes.shape[1] < 1:
        raise error("has a database of something else than packed codes")


def _check_database(state, error):
    if state.keys() != {"engine", "ids", "labels"} or not isinstance(state["engine"], SearchEngine):
        raise error("has a database without codes")
    n_samples, ids, labels = state["engine"].n_samples, state["ids"], state["labels"]
    if ids is not None and (not _is_array(ids, 1, np.int64) or len(ids) != n_samples):
        raise error(f"has a database of {n_samples} codes with ids that are not as many integers")
    is_one_a_code = any(_is_array(labels, n) for n in (1, 2)) and len(labels) == n_samples
    if labels is not None and not is_one_a_code:
        raise error(f"has a database of {n_samples} codes with labels that are not as many")


def _check_vectors(state, error):
    if state.keys() != {"database", "_name", "dtype", "_mapped", "_mapped_rows", "_held"}:
        raise error("has stored vectors of other attributes than this version knows")
    held, mapped, rows, dtype = (state[name] for name in ("_held", "_mapped", "_mapped_rows", "dtype"))
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)) or not _is_array(held, 2, dtype):
        raise error("has stored vectors that are no matrix of real numbers")
    if not _is_array(rows, 1, np.int64) or (mapped is None and len(rows)):
        raise error("has stored vectors in rows that are no integers")
    if mapped is not None:
        is_matrix = _is_array(mapped, 2) and mapped.dtype.kind in "biuf" and mapped.shape[1] == held.shape[1]
        if not is_matrix or (len(rows) and not 0 <= rows.min() <= rows.max() < len(mapped)):
            raise error("has stored vectors in rows that do not exist")
    if not isinstance(state["database"], _Database) or not isinstance(state["_name"], str):
        raise error("has stored vectors without a database")
    if len(rows) + len(held) != state["database"].engine.n_samples:
        raise error("has another number of stored vectors than codes")


def _check_kept_features(state, error):
    if state.keys() != {"vectors"} or not isinstance(state["vectors"], StoredVectors):
        raise error("has features of a database that are no stored vectors")


def _check_search(search, error):
    if not hasattr(search, "_database"):
        return
    database = search._database
    if not isinstance(database, _Database):
        raise error("has a HammingNearestNeighbors whose database is none")
    n_added, ids_given = getattr(search, "_n_added", None), getattr(search, "_ids_given", None)
    if not _is_count(n_added) or n_added < database.engine.n_samples or not isinstance(ids_given, bool):
        raise error("has a HammingNearestNeighbors that counts its codes wrongly")
    if ids_given and database.ids is None:
        raise error("has a HammingNearestNeighbors without the ids that it was given")
    if getattr(search, "n_features_in_", None) != database.engine.n_bytes:
        raise error("has a HammingNearestNeighbors of another width than its codes")


def _check_pipeline(pipeline, error):
    steps = pipeline.steps
    if not isinstance(steps, list) or not steps:
        raise error("has a pipeline without steps")
    if not all(isinstance(step, tuple) and len(step) == 2 and isinstance(step[0], str) for step in steps):
        raise error("has a pipeline whose steps are no pairs of a name and an estimator")
    if isinstance(pipeline, RetrievalPipeline) and hasattr(pipeline, "_kept_features"):
        search = steps[-1][1]
        if not isinstance(pipeline._kept_features, _KeptFeatures) or not hasattr(search, "_database"):
            raise error("has a RetrievalPipeline that keeps features of no database")


def _check_compiled_of_sklearn(estimator, error):
    """Check what scikit-learn's loops over clusters and neighbours trust."""
    name, n_features = type(estimator).__name__, getattr(estimator, "n_features_in_", None)
    for attribute in ("cluster_centers_", "_fit_X"):
        matrix = getattr(estimator, attribute, None)
        if matrix is not None and (getattr(matrix, "ndim", 0) != 2 or matrix.shape[1] != n_features):
            raise error(f"has a {name} whose {attribute} is no matrix of {n_features} columns")
    n_threads = getattr(estimator, "_n_threads", 1)
    if not _is_count(n_threads) or not 1 <= n_threads <= _MOST_THREADS:
        raise error(f"has a {name} on another number of threads than 1 to {_MOST_THREADS}")
    y, classes = getattr(estimator, "_y", None), getattr(estimator, "classes_", None)
    if y is None:
        return
    if not isinstance(y, np.ndarray) or y.ndim not in (1, 2) or len(y) != estimator._fit_X.shape[0]:
        raise error(f"has a {name} with another number of targets than rows")
    if classes is not None:
        columns = y.reshape(len(y), -1).T
        tables = classes if isinstance(classes, list) else [classes]
        if len(tables) != len(columns) or y.dtype.kind not in "iu":
            raise error(f"has a {name} whose targets are no positions of classes")
        for column, table in zip(columns, tables, strict=True):
            if len(column) and not 0 <= column.min() <= column.max() < len(table):
                raise error(f"has a {name} whose targets are no positions of classes")


_STATE_CHECKS = {
    "SearchEngine": _check_engine,
    "Database": _check_database,
    "StoredVectors": _check_vectors,
    "KeptFeatures": _check_kept_features,
}
