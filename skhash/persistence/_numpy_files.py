"""Databases of codes to and from the files of NumPy, without pickles."""

import os
import zipfile

import numpy as np

from ._errors import FileFormatError
from ._exchange import check_any, database_of, format_errors, opened, plain_labels, search_on
from ._files import file_name, open_for_writing

# Headers of a `.npy` file that numpy's own functions read; later versions are for structured arrays alone.
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def write_numpy(search, path, *, bit_order="big"):
    """Write the database of a search to a `.npy` or `.npz` file, without pickles.

    Parameters
    ----------
    search : HammingNearestNeighbors
        Fitted search.

    path : str or os.PathLike
        A `.npz` file has the arrays ``codes``, and ``ids`` and ``labels`` where there are any; a `.npy` file the codes
        alone. It is replaced as a whole or not at all; addresses of fsspec work, too.

    bit_order : {"big", "little"}, default="big"
        Order of the bits in each byte of the file.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the search is not fitted.
    TypeError
        If `search` is something else.
    ValueError
        If the name ends otherwise, a `.npy` file would leave ids or labels out, or labels need pickles.
    OSError
        If the file cannot be written; the one before stays as it was.

    See Also
    --------
    read_numpy : The inverse.
    skhash.save : Writes everything, with checksums.

    Examples
    --------
    >>> import tempfile, os
    >>> from skhash import HammingNearestNeighbors
    >>> from skhash.persistence import read_numpy, write_numpy
    >>> search = HammingNearestNeighbors().fit([[0b0000], [0b0111]], y=["cat", "dog"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_numpy(search, os.path.join(folder, "database.npz"))
    ...     read_numpy(os.path.join(folder, "database.npz")).labels_
    array(['cat', 'dog'], dtype='<U3')
    """
    suffix = _numpy_suffix(path, "write_numpy")
    codes, ids, labels = database_of(search, bit_order, True, name="write_numpy", format="")
    if labels is not None:
        labels = plain_labels(labels, name="write_numpy")
    if suffix == ".npz":
        arrays = {"codes": codes, "ids": ids, "labels": labels}
        with open_for_writing(path) as file:
            np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
        return
    left_out = [name for name, array in (("ids", ids), ("labels", labels)) if array is not None]
    if left_out:
        raise ValueError(
            f"write_numpy: the search has {' and '.join(left_out)}, and a '.npy' file holds codes alone; write a "
            "'.npz' file."
        )
    with open_for_writing(path) as file:
        np.lib.format.write_array(file, codes, allow_pickle=False)


def read_numpy(path, *, bit_order="big"):
    """Fit a search on the codes of a `.npy` or `.npz` file, without pickles.

    Parameters
    ----------
    path : str or os.PathLike
        A file as of `write_numpy`, or of ``numpy.save(path, codes)``.

    bit_order : {"big", "little"}, default="big"
        Order of the bits in each byte of the file.

    Returns
    -------
    search : HammingNearestNeighbors
        With the default parameters.

    Raises
    ------
    OSError
        If the file cannot be read.
    FileFormatError
        If it is damaged, or holds anything else than codes, ids and labels.
    TypeError, ValueError
        If the name ends otherwise, or the arrays are no codes, ids or labels.

    See Also
    --------
    write_numpy : The inverse.

    Notes
    -----
    A `.npz` file has a checksum for each array, a `.npy` file has none. Codes that shall stay on the disk are searched
    there by ``HammingNearestNeighbors().fit(numpy.load(path, mmap_mode="r"))``.

    Examples
    --------
    >>> import tempfile, os
    >>> import numpy as np
    >>> from skhash.persistence import read_numpy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(os.path.join(folder, "codes.npy"), np.array([[0b0000], [0b0111]], dtype=np.uint8))
    ...     read_numpy(os.path.join(folder, "codes.npy")).n_samples_fit_
    2
    """
    suffix, called = _numpy_suffix(path, "read_numpy"), f"read_numpy: {file_name(path)}"
    with opened(path) as file, format_errors(called, "NumPy"):
        if suffix == ".npy":
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            arrays = {"codes": _read_array(file, size)}
        else:
            with zipfile.ZipFile(file) as archive:
                arrays = _read_members(archive)
    check_any(len(arrays["codes"]), called)
    return search_on(arrays["codes"], arrays.get("ids"), arrays.get("labels"), bit_order, name="read_numpy")


def _numpy_suffix(path, name):
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{name}: path must be a str or os.PathLike, got a {type(path).__name__}.")
    suffix = os.path.splitext(os.fspath(path))[1]
    if suffix not in (".npy", ".npz"):
        raise ValueError(f"{name}: {file_name(path)} must end with '.npy', for codes alone, or '.npz'.")
    return suffix


def _read_members(archive):
    arrays = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name not in ("codes", "ids", "labels") or name in arrays:
            raise FileFormatError(
                f"holds {member.filename!r} beside or instead of codes, ids and labels; load it with numpy and pass "
                "its arrays to HammingNearestNeighbors().fit."
            )
        with archive.open(member) as file:
            arrays[name] = _read_array(file, member.file_size)
    if "codes" not in arrays:
        raise FileFormatError("holds no array 'codes'; load it with numpy and pass its codes to fit.")
    return arrays


def _read_array(file, size):
    """Read an array of a file of so many bytes, without pickles, and without an allocation that it does not back."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADER_READERS:
        raise FileFormatError(f"has version {version} of the '.npy' format; codes, ids and labels need none above 2.0.")
    shape, is_fortran, dtype = _HEADER_READERS[version](file)
    if dtype.hasobject:
        raise FileFormatError("holds Python objects, which would have to be unpickled; write arrays of numbers.")
    n_values, n_bytes = 1, size - file.tell()
    for length in shape:
        n_values *= length
    if min(shape, default=0) < 0 or n_values * dtype.itemsize != n_bytes:
        raise FileFormatError(
            f"says that an array has shape {shape} and dtype {dtype}, which are not its {n_bytes} bytes; write it "
            "again."
        )
    data = file.read(n_bytes)
    if len(data) != n_bytes:
        raise FileFormatError(f"ends after {len(data)} of {n_bytes} bytes of an array; write it again.")
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if is_fortran else "C")
