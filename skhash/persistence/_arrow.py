"""Databases of codes to and from Arrow tables and Parquet files."""

import numpy as np
from numpy.typing import NDArray

from .._optional import import_optional
from ._exchange import are_positions, check_any, database_of, format_errors, opened, plain_labels, search_on
from ._files import file_name, open_for_writing

# Codes of a row group: a reader has one of them in memory, or reads only those that it needs.
_ROWS_TOGETHER = 2**20


def to_arrow(search, *, bit_order="big"):
    """Copy the database of a search into an Arrow table.

    Parameters
    ----------
    search : HammingNearestNeighbors
        Fitted search.

    bit_order : {"big", "little"}, default="big"
        Order of the bits in each byte of the codes.

    Returns
    -------
    table : pyarrow.Table
        One row a code, in the order of adding: ``id`` as int64, ``code`` as binary of fixed size, and ``label`` where
        there are labels, a list of fixed size for those with several columns.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    sklearn.exceptions.NotFittedError
        If the search is not fitted.
    TypeError
        If `search` is something else.
    ValueError
        If labels are of a type that Arrow does not keep.

    See Also
    --------
    from_arrow : The inverse.
    write_parquet : Writes such a table to a file.

    Examples
    --------
    >>> from skhash import HammingNearestNeighbors
    >>> from skhash.persistence import to_arrow
    >>> search = HammingNearestNeighbors().fit([[0b0000], [0b0111]], y=["cat", "dog"], ids=[10, 20])
    >>> to_arrow(search).to_pylist()
    [{'id': 10, 'code': b'\\x00', 'label': 'cat'}, {'id': 20, 'code': b'\\x07', 'label': 'dog'}]
    """
    return _table_of(search, bit_order, name="to_arrow")


def from_arrow(table, *, bit_order="big"):
    """Fit a search on the codes of an Arrow table.

    Parameters
    ----------
    table : pyarrow.Table, or data frame that Arrow takes
        One row a code. ``code`` is binary, all codes of one length; ``id``, integers, and ``label`` may be missing.
        Other columns are an error: rename and select them before.

    bit_order : {"big", "little"}, default="big"
        Order of the bits in each byte of the codes.

    Returns
    -------
    search : HammingNearestNeighbors
        With the default parameters. Ids that are 0, 1, 2 and so on are positions.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    TypeError
        If `table` is no table, or a column is of another type.
    ValueError
        If the table is empty, a column is missing or unknown, has missing values, or lengths differ.

    See Also
    --------
    to_arrow : The inverse.

    Examples
    --------
    >>> import pyarrow
    >>> from skhash.persistence import from_arrow
    >>> table = pyarrow.table({"image": [10, 20], "hash": [b"\\x00", b"\\x07"], "caption": ["a cat", "a dog"]})
    >>> search = from_arrow(table.select(["image", "hash"]).rename_columns(["id", "code"]))
    >>> search.kneighbors([[0b0011]], n_neighbors=1)
    (array([[1]], dtype=int32), array([[20]]))
    """
    pyarrow = import_optional("pyarrow", extra="parquet", feature="from_arrow")
    if not isinstance(table, pyarrow.Table):
        try:
            table = pyarrow.table(table)
        except TypeError as error:
            raise TypeError(f"from_arrow: takes a pyarrow.Table, got a {type(table).__name__}.") from error
    return _search_on_table(pyarrow, table, bit_order, "from_arrow", "from_arrow: the table")


def write_parquet(search, path, *, bit_order="big"):
    """Write the database of a search to a Parquet file.

    Parameters
    ----------
    search : HammingNearestNeighbors
        Fitted search.

    path : str or os.PathLike
        The file, with the columns that `to_arrow` makes and a checksum for each page. It is replaced as a whole or not
        at all; addresses of fsspec work, too.

    bit_order : {"big", "little"}, default="big"
        Order of the bits in each byte of the codes.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    sklearn.exceptions.NotFittedError
        If the search is not fitted.
    TypeError
        If `search` is something else.
    ValueError
        If labels are of a type that Parquet does not keep.
    OSError
        If the file cannot be written; the one before stays as it was.

    See Also
    --------
    read_parquet : The inverse.

    Examples
    --------
    >>> import tempfile, os
    >>> from skhash import HammingNearestNeighbors
    >>> from skhash.persistence import read_parquet, write_parquet
    >>> search = HammingNearestNeighbors().fit([[0b0000], [0b0111]], ids=[10, 20])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_parquet(search, os.path.join(folder, "database.parquet"))
    ...     read_parquet(os.path.join(folder, "database.parquet")).ids_
    array([10, 20])
    """
    parquet = import_optional("pyarrow.parquet", extra="parquet", feature="write_parquet")
    table = _table_of(search, bit_order, name="write_parquet")
    with open_for_writing(path) as file:
        # Codes hardly repeat, so that a dictionary of them would only take time.
        parquet.write_table(
            table,
            file,
            row_group_size=_ROWS_TOGETHER,
            use_dictionary=["label"] if "label" in table.column_names else False,
            write_page_checksum=True,
        )


def read_parquet(path, *, bit_order="big"):
    """Fit a search on the codes of a Parquet file.

    Parameters
    ----------
    path : str or os.PathLike
        A file as of `write_parquet`, or any other with columns that `from_arrow` takes. Pages are checked where they
        have checksums.

    bit_order : {"big", "little"}, default="big"
        Order of the bits in each byte of the codes.

    Returns
    -------
    search : HammingNearestNeighbors
        With the default parameters. Ids that are 0, 1, 2 and so on are positions.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    OSError
        If the file cannot be read.
    FileFormatError
        If it is no Parquet file, or damaged.
    TypeError, ValueError
        As in `from_arrow`.

    See Also
    --------
    write_parquet : The inverse.
    from_arrow : Takes some columns of a file, under other names.

    Examples
    --------
    >>> import tempfile, os
    >>> import pyarrow, pyarrow.parquet
    >>> from skhash.persistence import read_parquet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "codes.parquet")
    ...     pyarrow.parquet.write_table(pyarrow.table({"code": [b"\\x00", b"\\x07"]}), path)
    ...     read_parquet(path).codes_
    array([[0],
           [7]], dtype=uint8)
    """
    parquet = import_optional("pyarrow.parquet", extra="parquet", feature="read_parquet")
    pyarrow = import_optional("pyarrow", extra="parquet", feature="read_parquet")
    called = f"read_parquet: {file_name(path)}"
    with opened(path) as file, format_errors(called, "Parquet"):
        table = parquet.ParquetFile(file, page_checksum_verification=True).read()
    return _search_on_table(pyarrow, table, bit_order, "read_parquet", called)


def _table_of(search, bit_order, *, name):
    pyarrow = import_optional("pyarrow", extra="parquet", feature=name)
    import_optional("pyarrow.compute", extra="parquet", feature=name)
    codes, ids, labels = database_of(search, bit_order, True, name=name, format="")
    columns = {
        "id": pyarrow.array(np.arange(len(codes)) if ids is None else ids, type=pyarrow.int64()),
        "code": pyarrow.FixedSizeBinaryArray.from_buffers(
            pyarrow.binary(codes.shape[1]), len(codes), [None, pyarrow.py_buffer(codes)]
        ),
    }
    if labels is not None:
        columns["label"] = _labels_to_arrow(pyarrow, plain_labels(labels, name=name), name)
    return pyarrow.table(columns)


def _search_on_table(pyarrow, table, bit_order, name, called):
    import_optional("pyarrow.compute", extra="parquet", feature=name)
    names = table.column_names
    if "code" not in names or len(set(names)) < len(names) or not set(names) <= {"code", "id", "label"}:
        raise ValueError(
            f"{called} has the columns {names}, needed are 'code' and maybe 'id' and 'label'; select and rename "
            "columns of a pyarrow.Table, and pass it to from_arrow."
        )
    check_any(table.num_rows, called)
    for column in names:
        if table[column].null_count:
            raise ValueError(f"{called} has {table[column].null_count} missing values in '{column}'; drop these rows.")
    ids = labels = None
    if "id" in names:
        if not pyarrow.types.is_integer(table["id"].type):
            raise TypeError(f"{called} has ids of type {table['id'].type}; pass integers.")
        ids = table["id"].to_numpy()
        ids = None if are_positions(ids) else ids
    if "label" in names:
        labels = _labels_from_arrow(pyarrow, table["label"])
    return search_on(_codes_from_arrow(pyarrow, table["code"], called), ids, labels, bit_order, name=name)


def _labels_to_arrow(pyarrow, labels, name):
    """Make a column of labels, and make sure that it gives them back."""
    # Arrow has numbers in the order of the machine.
    labels = labels.astype(labels.dtype.newbyteorder("="), copy=False)
    try:
        column = pyarrow.array(labels.ravel())
        if labels.ndim == 2:
            column = pyarrow.FixedSizeListArray.from_arrays(column, labels.shape[1])
        kept = _labels_from_arrow(pyarrow, pyarrow.chunked_array([column]))
    except (pyarrow.ArrowException, TypeError) as error:
        raise _no_arrow_labels(labels, name) from error
    if kept.dtype.kind != labels.dtype.kind or not np.array_equal(kept, labels):
        raise _no_arrow_labels(labels, name)
    return column


def _no_arrow_labels(labels, name):
    return ValueError(
        f"{name}: Arrow does not keep labels of dtype {labels.dtype}; fit with integers, floats or strings."
    )


def _labels_from_arrow(pyarrow, column):
    if pyarrow.types.is_fixed_size_list(column.type):
        flat = pyarrow.compute.list_flatten(column)
        return _labels_from_arrow(pyarrow, flat).reshape(len(column), -1)
    if pyarrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    values = column.to_numpy()
    # Arrow has strings as Python objects.
    return np.array(values.tolist()) if values.dtype == object and len(values) else values


def _codes_from_arrow(pyarrow, column, called) -> NDArray[np.uint8]:
    types = pyarrow.types
    if types.is_binary(column.type) or types.is_large_binary(column.type) or types.is_binary_view(column.type):
        # There is no length of views.
        column = column.cast(pyarrow.large_binary())
        lengths = pyarrow.compute.min_max(pyarrow.compute.binary_length(column)).as_py()
        if lengths["min"] != lengths["max"] or not lengths["min"]:
            raise ValueError(
                f"{called} has codes of {lengths['min']} to {lengths['max']} bytes; codes of one database have one "
                "length."
            )
        column = column.cast(pyarrow.binary(lengths["min"]))
    if not types.is_fixed_size_binary(column.type):
        raise TypeError(f"{called} has codes of type {column.type}; pass binary of fixed size.")
    n_bytes = column.type.byte_width
    codes = np.empty((len(column), n_bytes), dtype=np.uint8)
    start = 0
    for chunk in column.chunks:
        stored = np.frombuffer(chunk.buffers()[1], dtype=np.uint8)
        first = chunk.offset * n_bytes
        stop = start + len(chunk)
        codes[start:stop] = stored[first : first + len(chunk) * n_bytes].reshape(-1, n_bytes)
        start = stop
    return codes
