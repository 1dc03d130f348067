"""What a gallery shows: the rows that ids name, their relevance and their names."""

import numpy as np

from ..metrics._labels import relevance_from_labels

UNKNOWN = -1


def check_neighbors(distances, ids, n_queries, *, caller):
    """Check the answer of a search.

    Parameters
    ----------
    distances : array-like of shape (n_queries, n_neighbors)
        Numbers of bits that differ, or the real distances of a re-ranked shortlist.

    ids : array-like of int of shape (n_queries, n_neighbors)
        Names of the neighbours.

    n_queries : int
        Number of query images.

    caller : str
        Who asks, for the messages.

    Returns
    -------
    distances, ids : ndarray of shape (n_queries, n_neighbors)
        The same as arrays.

    Raises
    ------
    ValueError
        If shapes or dtypes are wrong.
    """
    distances, ids = np.asarray(distances), np.asarray(ids)
    for name, values, kinds, wanted in (("distances", distances, "iuf", "numbers"), ("ids", ids, "iu", "integers")):
        if values.ndim != 2 or values.dtype.kind not in kinds or values.shape[1] == 0:
            raise ValueError(
                f"{caller}: {name} must be {wanted} of shape (n_queries, n_neighbors), got dtype {values.dtype} "
                f"and shape {values.shape}; pass what kneighbors returns."
            )
    if distances.shape != ids.shape:
        raise ValueError(
            f"{caller}: distances has shape {distances.shape} and ids {ids.shape}; pass both from one kneighbors."
        )
    check_length(ids, n_queries, name="ids", unit="query image", caller=caller)
    return distances, ids


def check_length(values, n_expected, *, name, unit, caller):
    """Check that there is one value an image.

    Parameters
    ----------
    values : sized
        Labels or ids.

    n_expected : int
        Number of images.

    name : str
        What to call the values.

    unit : str
        What there has to be one of for each image.

    caller : str
        Who asks, for the message.

    Raises
    ------
    ValueError
        If the length differs.
    """
    if len(values) != n_expected:
        raise ValueError(f"{caller}: {name} has {len(values)} rows for {n_expected}; pass one for each {unit}.")


def rows_of_ids(ids, database_ids, n_database, *, caller):
    """Find the database images that ids name.

    Parameters
    ----------
    ids : ndarray of int of shape (n_queries, n_neighbors)
        Names of the neighbours.

    database_ids : array-like of int of shape (n_database,), or None
        Names of the database images; their positions when None.

    n_database : int
        Number of database images.

    caller : str
        Who asks, for the messages.

    Returns
    -------
    rows : ndarray of int of shape (n_queries, n_neighbors)
        Positions of the images.

    Raises
    ------
    ValueError
        If an id is not in the database, or names two images.
    """
    names = np.arange(n_database) if database_ids is None else np.asarray(database_ids)
    check_length(names, n_database, name="database_ids", unit="database image", caller=caller)
    rows = np.empty(ids.shape, dtype=np.intp)
    # A gallery shows few images, so a scan for each costs less than an index of the database.
    for place, name in np.ndenumerate(ids):
        found = np.flatnonzero(names == name)
        if len(found) == 0:
            hint = "pass database_ids, or the images of the whole database" if database_ids is None else "pass the ids_"
            raise ValueError(f"{caller}: id {name} is not among the {n_database} database images; {hint}.")
        if len(found) > 1:
            raise ValueError(f"{caller}: database_ids hold id {name} twice; pass one name for each database image.")
        rows[place] = found[0]
    return rows


def check_labels(labels, n_images, *, name, unit, caller):
    """Check that labels are classes or indicators of all images.

    Parameters
    ----------
    labels : array-like of shape (n_images,) or (n_images, n_labels)
        Labels.

    n_images : int
        Number of images.

    name : str
        What to call the labels.

    unit : str
        What to call an image.

    caller : str
        Who asks, for the messages.

    Returns
    -------
    labels : ndarray of shape (n_images,) or (n_images, n_labels)
        The same as an array.

    Raises
    ------
    ValueError
        If the shape is another.
    """
    labels = np.asarray(labels)
    if labels.ndim not in (1, 2):
        raise ValueError(
            f"{caller}: {name} has shape {labels.shape}; pass classes (n_images,) or indicators (n_images, n_labels)."
        )
    check_length(labels, n_images, name=name, unit=unit, caller=caller)
    return labels


def relevance_of_neighbors(query_labels, database_labels, rows, *, caller):
    """Compare the labels of queries and neighbours.

    Parameters
    ----------
    query_labels : ndarray of shape (n_queries,) or (n_queries, n_labels)
        Classes, of which -1 stands for unlabelled, or 0/1 indicators.

    database_labels : ndarray of shape (n_database,) or (n_database, n_labels)
        Labels of the same kind.

    rows : ndarray of int of shape (n_queries, n_neighbors)
        Positions of the neighbours in the database.

    caller : str
        Who asks, for the messages.

    Returns
    -------
    relevance : ndarray of shape (n_queries, n_neighbors), dtype int8
        1 for the same class or a shared label, 0 for none, -1 where a label is unknown.

    Raises
    ------
    ValueError
        If the labels are of different kinds or no labels.
    """
    relevance = np.full(rows.shape, UNKNOWN, dtype=np.int8)
    known = _is_labeled(database_labels)[rows]
    for query in np.flatnonzero(_is_labeled(query_labels)):
        columns = np.flatnonzero(known[query])
        if len(columns) == 0:
            continue
        neighbor_labels = database_labels[rows[query, columns]]
        try:
            compared = relevance_from_labels(query_labels[[query]], neighbor_labels, 1, len(columns))
        except ValueError as error:
            raise ValueError(f"{caller}: {error}") from error
        relevance[query, columns] = compared.levels(slice(None), slice(None))[0] > 0
    return relevance


def _is_labeled(labels):
    return labels != UNKNOWN if labels.ndim == 1 else np.ones(len(labels), dtype=bool)


def names_of_labels(labels, target_names, *, caller):
    """Write labels as text.

    Parameters
    ----------
    labels : ndarray of shape (n_images,) or (n_images, n_labels)
        Classes, of which -1 stands for unlabelled, or 0/1 indicators.

    target_names : sequence of str or None
        Name of class 0, 1 and so on, or of each column of indicators. Without it classes are written as they are, and
        indicators are not.

    caller : str
        Who asks, for the message.

    Returns
    -------
    names : list of str
        Text for each image, "" where nothing is known.

    Raises
    ------
    ValueError
        If `target_names` does not name all labels.
    """
    if labels.ndim == 2:
        return _names_of_indicators(labels, target_names, caller)
    known = _is_labeled(labels)
    if target_names is None:
        return [str(label) if is_known else "" for label, is_known in zip(labels, known, strict=True)]
    n_names = len(target_names)
    wrong = [label for label in labels[known] if not isinstance(label, (int, np.integer)) or not 0 <= label < n_names]
    if wrong:
        raise ValueError(
            f"{caller}: label {wrong[0]!s} has no name in target_names; it holds the names of the classes "
            f"0 to {n_names - 1}, leave it out for other labels."
        )
    return [str(target_names[label]) if is_known else "" for label, is_known in zip(labels, known, strict=True)]


def _names_of_indicators(labels, target_names, caller):
    if target_names is None:
        return [""] * len(labels)
    if len(target_names) != labels.shape[1]:
        raise ValueError(
            f"{caller}: target_names has {len(target_names)} names for {labels.shape[1]} label columns; "
            "pass one for each."
        )
    return [", ".join(str(target_names[column]) for column in np.flatnonzero(row)) for row in labels]
