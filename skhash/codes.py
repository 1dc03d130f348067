"""Packed binary codes: the contract between hashers, search and metrics.

A code of ``n_bits`` bits is a row of ``n_bytes = ceil(n_bits / 8)`` unsigned bytes. Bits are packed with
:func:`numpy.packbits` in big-endian order: bit 0 is the highest bit of byte 0. Where ``n_bits`` is no multiple of 8,
the last byte is padded with zeros on the right, so padding never adds to a Hamming distance.

No other module of the package knows the bit order or the padding.
"""

import string
from collections.abc import Iterable

import numpy as np
from bitarray import bitarray
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import gen_batches

from ._memory import check_allocation
from ._validation import as_array, first_of_other_types, shown

__all__ = [
    "bitarrays_from_codes",
    "check_codes",
    "code_width",
    "codes_from_bitarrays",
    "codes_from_hex",
    "hamming_distances",
    "hex_from_codes",
    "pack_bits",
    "paired_hamming_distances",
    "reverse_bit_order",
    "spherical_hamming_distances",
    "to_signs",
    "truncate_codes",
    "unpack_codes",
]

# XOR and popcount write temporaries of this many bytes at most, so that they stay in the second-level cache.
_BLOCK_BYTES = 2**19

# Every byte with its bits in the other order.
_REVERSED_BYTES = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1], axis=1).ravel()


def code_width(n_bits: int) -> int:
    """Return the number of bytes that hold a code of `n_bits` bits.

    Parameters
    ----------
    n_bits : int
        Code length in bits, at least 1.

    Returns
    -------
    n_bytes : int
        ``ceil(n_bits / 8)``.

    Raises
    ------
    TypeError
        If `n_bits` is not an integer.
    ValueError
        If `n_bits` is below 1.

    Examples
    --------
    >>> from skhash.codes import code_width
    >>> code_width(12)
    2
    """
    if isinstance(n_bits, (bool, np.bool_)) or not isinstance(n_bits, (int, np.integer)):
        raise TypeError(f"n_bits must be an integer >= 1, got {shown(n_bits)}.")
    if n_bits < 1:
        raise ValueError(f"n_bits={shown(n_bits)} must be >= 1.")
    return -(-int(n_bits) // 8)


def check_codes(codes: ArrayLike, *, n_bits: int | None = None, name: str = "codes") -> NDArray[np.uint8]:
    """Check packed codes and return them as a C-contiguous uint8 array.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_bytes)
        Packed codes. Arrays of another numeric dtype are accepted when every value is an integer from 0 to 255.

    n_bits : int, default=None
        Code length in bits. When given, the width must be ``ceil(n_bits / 8)`` and the padding bits must be zero.

    name : str, default="codes"
        What to call the array in error messages.

    Returns
    -------
    codes : ndarray of shape (n_samples, n_bytes), dtype uint8
        The same codes; a copy only where dtype or memory order required one.

    Raises
    ------
    TypeError
        If `codes` is sparse, boolean or not numeric.
    ValueError
        If `codes` is not two-dimensional, is empty, holds anything but integers from 0 to 255, has another width than
        `n_bits` needs, or has a padding bit set.

    Examples
    --------
    >>> from skhash.codes import check_codes
    >>> check_codes([[255, 0], [3, 128]])
    array([[255,   0],
           [  3, 128]], dtype=uint8)
    """
    if hasattr(codes, "tocsr"):
        raise TypeError(
            f"{name}: packed codes are dense uint8, got a sparse {type(codes).__name__}; call `.toarray()`."
        )
    array = as_array(codes, name=name)
    if array.dtype == bool:
        raise TypeError(f"{name}: expected packed uint8 codes, got booleans; pack them with skhash.codes.pack_bits.")
    if array.dtype == object:
        array = _numeric_from_objects(array, name)
    if array.dtype.kind == "c":
        raise ValueError(f"{name}: Complex data not supported; packed codes are integers from 0 to 255.")
    if array.dtype.kind not in "uif":
        raise TypeError(f"{name}: expected packed uint8 codes, got dtype {array.dtype}.")
    if array.ndim != 2:
        raise ValueError(
            f"{name}: expected 2D array of packed codes (n_samples, n_bytes), got shape {array.shape}. "
            "Reshape your data either using array.reshape(-1, 1) if it has one byte a code "
            "or array.reshape(1, -1) if it contains a single sample."
        )
    if array.shape[0] == 0:
        raise ValueError(
            f"{name}: found array with 0 sample(s) (shape={array.shape}) while a minimum of 1 is required."
        )
    if array.shape[1] == 0:
        raise ValueError(f"{name}: 0 feature(s) (shape={array.shape}) while a minimum of 1 is required.")
    if array.dtype != np.uint8:
        array = _bytes_from_numbers(array, name)
    if n_bits is not None:
        _check_width(array, n_bits, name)
    return np.ascontiguousarray(array)


def _numeric_from_objects(array, name):
    found = first_of_other_types(array, (int, float, np.integer, np.floating), (bool, np.timedelta64))
    if found:
        raise TypeError(
            f"{name}: argument must be codes, not a string or object: a number 0-255 each, got {shown(found[1])}."
        )
    try:
        return array.astype(np.float64)
    except OverflowError as error:
        raise ValueError(f"{name}: integers are too large; packed codes are integers from 0 to 255.") from error


def _bytes_from_numbers(array, name):
    """Cast integers 0-255 of any dtype to uint8 and refuse the rest, naming the first offending value."""
    codes = np.empty(array.shape, dtype=np.uint8)
    batches = _batches_of_rows(array)
    if array.dtype.kind == "f":
        # NaN and infinity come first, wherever they are: they have a fix of their own.
        for batch in batches:
            finite = np.isfinite(array[batch])
            if not finite.all():
                row = batch.start + np.argwhere(~finite)[0][0]
                raise ValueError(
                    f"{name}: input contains NaN or infinity at row {row}; hash the floats with a hasher first."
                )
    for batch in batches:
        values = array[batch]
        wrong = (values < 0) | (values > 255)
        if array.dtype.kind == "f":
            wrong |= values != np.floor(values)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            value = values[row, column]
            hint = "Negative values in data" if value < 0 else "values that are no bytes"
            raise ValueError(
                f"{name}: {hint}: got {value!s} at row {batch.start + row}, packed codes are integers from 0 to 255; "
                "hash floats first with a hasher's transform, or pack projections with pack_bits(projections >= 0)."
            )
        codes[batch] = values
    return codes


def _batches_of_rows(array):
    """Divide the rows of a matrix so that temporaries of one byte an entry stay small."""
    return list(gen_batches(len(array), max(1, _BLOCK_BYTES // array.shape[1])))


def _check_width(codes, n_bits, name):
    n_bytes = code_width(n_bits)
    n_bits = int(n_bits)
    if codes.shape[1] != n_bytes:
        raise ValueError(f"{name}: n_bits={shown(n_bits)} needs codes of {n_bytes} bytes, got {codes.shape[1]}.")
    n_padding = 8 * n_bytes - n_bits
    if n_padding and (codes[:, -1] & (2**n_padding - 1)).any():
        raise ValueError(f"{name}: a padding bit after bit {n_bits} is set; pack codes with skhash.codes.pack_bits.")


def pack_bits(bits: ArrayLike) -> NDArray[np.uint8]:
    """Pack bits or signs into codes.

    Parameters
    ----------
    bits : array-like of shape (n_samples, n_bits)
        Booleans, zeros and ones, or signs -1 and +1 (a sign of +1 is bit 1).

    Returns
    -------
    codes : ndarray of shape (n_samples, ceil(n_bits / 8)), dtype uint8
        Packed codes, big-endian, padded with zeros on the right.

    Raises
    ------
    ValueError
        If `bits` is not two-dimensional, is empty, or mixes other values than {0, 1} or {-1, +1}.

    See Also
    --------
    unpack_codes : The inverse.

    Examples
    --------
    >>> from skhash.codes import pack_bits
    >>> pack_bits([[1, 0, 0, 0, 0, 0, 0, 0, 1]])
    array([[128, 128]], dtype=uint8)
    >>> pack_bits([[-1, 1, 1]])
    array([[96]], dtype=uint8)
    """
    array = as_array(bits, name="pack_bits")
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"pack_bits: expected a non-empty array (n_samples, n_bits), got shape {array.shape}.")
    if array.dtype != bool:
        return _packed_from_numbers(array)
    return _packed(array)


def _packed(bits):
    if bits.shape[1] % 8 == 0:
        # No row needs padding, and bytes of one long row are packed faster than rows of few bytes.
        return np.packbits(bits).reshape(len(bits), -1)
    return np.packbits(bits, axis=1)


def _packed_from_numbers(array):
    if array.dtype.kind not in "uif":
        raise ValueError(f"pack_bits: expected booleans, 0/1 or -1/+1, got dtype {array.dtype}.")
    codes = np.empty((len(array), code_width(array.shape[1])), dtype=np.uint8)
    # NumPy 2.0.0 crashes where it compares unsigned integers that are not contiguous with -1.
    are_bits, are_signs = True, array.dtype.kind != "u"
    for batch in _batches_of_rows(array):
        values = array[batch]
        ones = values == 1
        are_bits = are_bits and bool((ones | (values == 0)).all())
        are_signs = are_signs and bool((ones | (values == -1)).all())
        if not (are_bits or are_signs):
            raise ValueError(
                "pack_bits: values must be all 0/1 or all -1/+1 (a mixture or real numbers are ambiguous); "
                "pack projections with pack_bits(projections >= 0)."
            )
        codes[batch] = _packed(ones)
    return codes


def unpack_codes(codes: ArrayLike, n_bits: int | None = None) -> NDArray[np.bool_]:
    """Unpack codes into booleans.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_bytes)
        Packed codes.

    n_bits : int, default=None
        Code length in bits; all ``8 * n_bytes`` bits, padding included, when not given.

    Returns
    -------
    bits : ndarray of shape (n_samples, n_bits), dtype bool
        One boolean a bit.

    Raises
    ------
    MemoryError
        If the result needs more memory than is left.
    ValueError
        If `codes` are no packed codes, or not of `n_bits` bits.

    See Also
    --------
    pack_bits : The inverse.
    to_signs : The same as -1 and +1.

    Examples
    --------
    >>> from skhash.codes import unpack_codes
    >>> unpack_codes([[96]], n_bits=3)
    array([[False,  True,  True]])
    """
    codes = check_codes(codes, n_bits=n_bits)
    _check_unpacked("unpack_codes", codes, n_bits, 1)
    return np.unpackbits(codes, axis=1, count=n_bits).view(bool)


def _check_unpacked(name, codes, n_bits, bytes_per_bit):
    n_bits = 8 * codes.shape[1] if n_bits is None else int(n_bits)
    what = f"the result, {len(codes):,} codes of {n_bits:,} bits with {bytes_per_bit} bytes a bit"
    fix = "unpack some of the codes at a time, or compute with packed codes"
    check_allocation(name, bytes_per_bit * len(codes) * n_bits, what, fix)


def to_signs(codes: ArrayLike, n_bits: int | None = None, *, dtype=np.int8) -> NDArray:
    """Unpack codes into signs, -1 for bit 0 and +1 for bit 1.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_bytes)
        Packed codes.

    n_bits : int, default=None
        Code length in bits; all ``8 * n_bytes`` bits, padding included, when not given.

    dtype : dtype, default=numpy.int8
        Signed dtype of the result.

    Returns
    -------
    signs : ndarray of shape (n_samples, n_bits)
        Values -1 and +1.

    Raises
    ------
    MemoryError
        If the result needs more memory than is left.
    ValueError
        If `codes` are no packed codes or not of `n_bits` bits, or `dtype` holds no negative numbers.

    Examples
    --------
    >>> from skhash.codes import to_signs
    >>> to_signs([[96]], n_bits=3)
    array([[-1,  1,  1]], dtype=int8)
    """
    try:
        kind = np.dtype(dtype).kind
    except (TypeError, ValueError) as error:
        raise TypeError(f"to_signs: dtype={shown(dtype)} is no dtype ({shown(error)}).") from error
    if kind not in "if":
        raise ValueError(f"to_signs: dtype={np.dtype(dtype)} must be a signed integer or a float.")
    codes = check_codes(codes, n_bits=n_bits)
    _check_unpacked("to_signs", codes, n_bits, np.dtype(dtype).itemsize)
    signs = np.empty((len(codes), 8 * codes.shape[1] if n_bits is None else n_bits), dtype=dtype)
    for batch in gen_batches(len(codes), max(1, _BLOCK_BYTES // signs.shape[1])):
        signs[batch] = np.unpackbits(codes[batch], axis=1, count=n_bits)
    signs *= 2
    signs -= 1
    return signs


def truncate_codes(codes: ArrayLike, n_bits: int) -> NDArray[np.uint8]:
    """Keep the first `n_bits` bits of every code.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_bytes)
        Packed codes.

    n_bits : int
        Number of leading bits to keep, at most ``8 * n_bytes``.

    Returns
    -------
    prefixes : ndarray of shape (n_samples, ceil(n_bits / 8)), dtype uint8
        The shorter codes, padded with zeros on the right.

    Raises
    ------
    ValueError
        If `codes` are no packed codes or shorter than `n_bits`.

    Examples
    --------
    >>> from skhash.codes import truncate_codes
    >>> truncate_codes([[255, 255]], n_bits=10)
    array([[255, 192]], dtype=uint8)
    """
    codes = check_codes(codes)
    n_bytes, n_bits = code_width(n_bits), int(n_bits)
    if n_bits > 8 * codes.shape[1]:
        raise ValueError(f"truncate_codes: n_bits={shown(n_bits)} must be <= 8 * n_bytes={8 * codes.shape[1]}.")
    prefixes = codes[:, :n_bytes].copy()
    n_padding = 8 * n_bytes - n_bits
    prefixes[:, -1] &= 256 - 2**n_padding
    return prefixes


def reverse_bit_order(codes: ArrayLike) -> NDArray[np.uint8]:
    """Reverse the order of the bits within each byte, from or to codes that other programs packed little-endian.

    Codes of one order have the same distances among each other as those of the other. They have to be of one order to
    be compared, and big-endian for prefixes to be the first bits.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_bytes)
        Packed codes: big-endian ones become little-endian ones, as of ``numpy.packbits(bits, bitorder="little")``, and
        the other way round. Padding stays padding.

    Returns
    -------
    codes : ndarray of shape (n_samples, n_bytes), dtype uint8
        A new array.

    See Also
    --------
    pack_bits : Packs booleans in the order of this package.

    Examples
    --------
    >>> from skhash.codes import reverse_bit_order
    >>> reverse_bit_order([[0b00000001, 0b00001100]])
    array([[128,  48]], dtype=uint8)
    """
    return _REVERSED_BYTES[check_codes(codes)]


def hex_from_codes(codes: ArrayLike) -> list[str]:
    """Write every code as a lower-case hexadecimal string.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_bytes)
        Packed codes.

    Returns
    -------
    texts : list of str
        One string of ``2 * n_bytes`` digits a code.

    Examples
    --------
    >>> from skhash.codes import hex_from_codes
    >>> hex_from_codes([[255, 10]])
    ['ff0a']
    """
    return [row.tobytes().hex() for row in check_codes(codes)]


def codes_from_hex(texts: Iterable[str]) -> NDArray[np.uint8]:
    """Read codes from hexadecimal strings.

    Parameters
    ----------
    texts : iterable of str
        Strings of one even length, two digits a byte.

    Returns
    -------
    codes : ndarray of shape (n_samples, n_bytes), dtype uint8
        Packed codes.

    Raises
    ------
    TypeError
        If an item is no string.
    ValueError
        If there are no strings, their lengths differ, or one is not hexadecimal.

    Examples
    --------
    >>> from skhash.codes import codes_from_hex
    >>> codes_from_hex(["ff0a"])
    array([[255,  10]], dtype=uint8)
    """
    texts = list(texts)
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f"codes_from_hex: item {position} is no string but {shown(text)}; pass hexadecimal strings."
            )
    if not texts or not texts[0]:
        raise ValueError("codes_from_hex: no digits given; pass at least one string of two digits.")
    rows = []
    for position, text in enumerate(texts):
        if len(text) != len(texts[0]):
            raise ValueError(f"codes_from_hex: string {position} ({shown(text)}) has another length than the first.")
        # bytes.fromhex skips blanks, which would turn a typing error into a shorter code.
        if len(text) % 2 or any(letter not in string.hexdigits for letter in text):
            raise ValueError(
                f"codes_from_hex: string {position} ({shown(text)}) is no even number of hexadecimal digits."
            )
        rows.append(bytes.fromhex(text))
    return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), -1).copy()


def bitarrays_from_codes(codes: ArrayLike, n_bits: int | None = None) -> list[bitarray]:
    """Write every code as a :class:`bitarray.bitarray`.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_bytes)
        Packed codes.

    n_bits : int, default=None
        Code length in bits; all ``8 * n_bytes`` bits, padding included, when not given.

    Returns
    -------
    arrays : list of bitarray.bitarray
        One big-endian array of `n_bits` bits a code.

    Examples
    --------
    >>> from skhash.codes import bitarrays_from_codes
    >>> bitarrays_from_codes([[96]], n_bits=3)
    [bitarray('011')]
    """
    arrays = []
    for row in check_codes(codes, n_bits=n_bits):
        array = bitarray(endian="big")
        array.frombytes(row.tobytes())
        arrays.append(array[:n_bits])
    return arrays


def codes_from_bitarrays(arrays: Iterable[bitarray]) -> NDArray[np.uint8]:
    """Read codes from :class:`bitarray.bitarray` objects of one length.

    Parameters
    ----------
    arrays : iterable of bitarray.bitarray
        Bits in reading order; the endianness of the buffers does not matter.

    Returns
    -------
    codes : ndarray of shape (n_samples, n_bytes), dtype uint8
        Packed codes.

    Raises
    ------
    TypeError
        If an item is no bitarray.
    ValueError
        If there are no arrays, they are empty, or their lengths differ.

    Examples
    --------
    >>> from bitarray import bitarray
    >>> from skhash.codes import codes_from_bitarrays
    >>> codes_from_bitarrays([bitarray("011")])
    array([[96]], dtype=uint8)
    """
    arrays = list(arrays)
    for position, array in enumerate(arrays):
        # bitarray reads a number as that many zeros.
        if not isinstance(array, bitarray):
            raise TypeError(
                f"codes_from_bitarrays: item {position} is no bitarray but {shown(array)}; pass bitarray.bitarray "
                "objects."
            )
    arrays = [bitarray(array, endian="big") for array in arrays]
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"codes_from_bitarrays: arrays must have one length >= 1, got lengths {sorted(lengths)}.")
    rows = b"".join(array.tobytes() for array in arrays)
    return np.frombuffer(rows, dtype=np.uint8).reshape(len(arrays), -1).copy()


def hamming_distances(query_codes: ArrayLike, database_codes: ArrayLike | None = None) -> NDArray[np.int32]:
    """Compute the Hamming distances between all queries and all database codes.

    The whole matrix is returned: memory is ``4 * n_queries * n_database`` bytes. To search or to evaluate a large
    database use :class:`skhash.neighbors.HammingNearestNeighbors` or :mod:`skhash.metrics`, which never build it.

    Parameters
    ----------
    query_codes : array-like of shape (n_queries, n_bytes)
        Packed codes.

    database_codes : array-like of shape (n_database, n_bytes), default=None
        Packed codes; the queries themselves when not given.

    Returns
    -------
    distances : ndarray of shape (n_queries, n_database), dtype int32
        Number of bits that differ, ``popcount(q XOR x)``.

    Raises
    ------
    MemoryError
        If the result needs more memory than is left.
    ValueError
        If an array holds no packed codes, or the widths differ.

    Examples
    --------
    >>> from skhash.codes import hamming_distances
    >>> hamming_distances([[0], [255]], [[1], [255]])
    array([[1, 8],
           [7, 0]], dtype=int32)
    """
    query_codes = check_codes(query_codes, name="query_codes")
    if database_codes is None:
        database_codes = query_codes
    else:
        database_codes = check_codes(database_codes, name="database_codes")
        check_same_width(query_codes, database_codes)
    query_words, database_words = to_words(query_codes), to_words(database_codes)
    distances = _room_for_matrix("hamming_distances", len(query_codes), len(database_codes), np.int32)
    block_size = min(len(database_codes), _BLOCK_BYTES // 8)
    for rows in gen_batches(len(query_codes), max(1, _BLOCK_BYTES // 8 // block_size)):
        for columns in gen_batches(len(database_codes), block_size):
            distances[rows, columns] = word_distances(query_words[:, rows], database_words[:, columns])
    return distances


def _room_for_matrix(name, n_queries, n_database, dtype):
    what = f"the matrix of distances of {n_queries:,} queries and {n_database:,} codes"
    fix = "search with skhash.neighbors or score with skhash.metrics, which build none, or pass fewer queries at a time"
    check_allocation(name, np.dtype(dtype).itemsize * n_queries * n_database, what, fix)
    return np.empty((n_queries, n_database), dtype=dtype)


def paired_hamming_distances(codes_a: ArrayLike, codes_b: ArrayLike) -> NDArray[np.int32]:
    """Compute the Hamming distance between each row of one array and the same row of another.

    Parameters
    ----------
    codes_a : array-like of shape (n_samples, n_bytes)
        Packed codes.

    codes_b : array-like of shape (n_samples, n_bytes)
        Packed codes.

    Returns
    -------
    distances : ndarray of shape (n_samples,), dtype int32
        Number of bits that differ.

    Raises
    ------
    ValueError
        If an array holds no packed codes, or the shapes differ.

    Examples
    --------
    >>> from skhash.codes import paired_hamming_distances
    >>> paired_hamming_distances([[0], [255]], [[1], [255]])
    array([1, 0], dtype=int32)
    """
    codes_a = check_codes(codes_a, name="codes_a")
    codes_b = check_codes(codes_b, name="codes_b")
    check_same_width(codes_a, codes_b)
    if len(codes_a) != len(codes_b):
        raise ValueError(
            f"paired_hamming_distances: got {len(codes_a)} and {len(codes_b)} codes; pass as many of each."
        )
    distances = np.empty(len(codes_a), dtype=np.int32)
    for batch in _batches_of_rows(codes_a):
        np.bitwise_count(codes_a[batch] ^ codes_b[batch]).sum(axis=1, dtype=np.int32, out=distances[batch])
    return distances


def spherical_hamming_distances(query_codes: ArrayLike, database_codes: ArrayLike | None = None) -> NDArray[np.float64]:
    r"""Compute the spherical Hamming distances between all queries and all database codes.

    The number of bits that differ over the number of bits that are set in both,

    .. math:: d(q, x) = \frac{|q \oplus x|}{|q \wedge x| + 0.1},

    which suits codes whose set bits say that a point lies in a ball: the more balls two points share, the closer they
    must be. The 0.1 in the denominator is that of the authors' program. It keeps the quotient finite where no bit is
    shared, and ranks such codes by the number of bits that differ.

    The whole matrix is returned: memory is ``8 * n_queries * n_database`` bytes. To search a large database use
    :func:`skhash.neighbors.spherical_neighbors`, which never builds it.

    Parameters
    ----------
    query_codes : array-like of shape (n_queries, n_bytes)
        Packed codes.

    database_codes : array-like of shape (n_database, n_bytes), default=None
        Packed codes; the queries themselves when not given.

    Returns
    -------
    distances : ndarray of shape (n_queries, n_database), dtype float64
        From 0 for equal codes to ``10 * n_bits`` for opposite ones. Equal quotients are equal numbers, so that ties
        are ties.

    Raises
    ------
    MemoryError
        If the result needs more memory than is left.
    ValueError
        If an array holds no packed codes, or the widths differ.

    See Also
    --------
    skhash.SphericalHash : Hashes to codes that this distance is made for.
    skhash.metrics.average_precision_from_distances : Scores rankings by any distance.

    References
    ----------
    J.-P. Heo, Y. Lee, J. He, S.-F. Chang and S.-E. Yoon, "Spherical hashing", CVPR 2012.

    Examples
    --------
    >>> from skhash.codes import pack_bits, spherical_hamming_distances
    >>> codes = pack_bits([[1, 1, 1, 0], [0, 0, 0, 1]])
    >>> spherical_hamming_distances(pack_bits([[1, 1, 0, 0]]), codes).round(2)
    array([[ 0.48, 30.  ]])
    """
    query_codes = check_codes(query_codes, name="query_codes")
    if database_codes is None:
        database_codes = query_codes
    else:
        database_codes = check_codes(database_codes, name="database_codes")
        check_same_width(query_codes, database_codes)
    query_words, database_words = to_words(query_codes), to_words(database_codes)
    distances = _room_for_matrix("spherical_hamming_distances", len(query_codes), len(database_codes), np.float64)
    block_size = min(len(database_codes), _BLOCK_BYTES // 8)
    for rows in gen_batches(len(query_codes), max(1, _BLOCK_BYTES // 8 // block_size)):
        for columns in gen_batches(len(database_codes), block_size):
            distances[rows, columns] = spherical_word_distances(query_words[:, rows], database_words[:, columns])
    return distances


def check_same_width(codes_a: NDArray[np.uint8], codes_b: NDArray[np.uint8]) -> None:
    """Check that two arrays of codes can be compared.

    Parameters
    ----------
    codes_a : ndarray of shape (n_samples_a, n_bytes), dtype uint8
        Packed codes.

    codes_b : ndarray of shape (n_samples_b, n_bytes), dtype uint8
        Packed codes.

    Raises
    ------
    ValueError
        If the widths differ.
    """
    if codes_a.shape[1] != codes_b.shape[1]:
        raise ValueError(
            f"codes of {codes_a.shape[1]} bytes cannot be compared with codes of {codes_b.shape[1]} bytes; "
            "hash both with the same hasher."
        )


def to_words(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Regroup checked codes into 64-bit words, one row a word, for the functions that count bits.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_bytes), dtype uint8
        Packed codes.

    Returns
    -------
    words : ndarray of shape (n_words, n_samples), dtype uint64
        The same bits, padded with zeros to whole words; only good for counting. Not to be written to: codes of one word
        are not copied.
    """
    n_samples, n_bytes = codes.shape
    padded = codes
    if n_bytes % 8:
        padded = np.zeros((n_samples, -(-n_bytes // 8) * 8), dtype=np.uint8)
        padded[:, :n_bytes] = codes
    # Counting bits of words that begin anywhere in memory is slow, and compiled loops refuse them.
    return np.require(np.ascontiguousarray(padded).view(np.uint64).T, requirements=["C_CONTIGUOUS", "ALIGNED"])


def word_distances(query_words: NDArray[np.uint64], database_words: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Compute all Hamming distances between two small blocks of words.

    Parameters
    ----------
    query_words : ndarray of shape (n_words, n_queries), dtype uint64
        From :func:`to_words`.

    database_words : ndarray of shape (n_words, n_database), dtype uint64
        From :func:`to_words`.

    Returns
    -------
    distances : ndarray of shape (n_queries, n_database), dtype uint8, uint16 or uint32
        Number of bits that differ, in the smallest dtype that no distance fills.
    """
    distances = np.bitwise_count(query_words[0][:, None] ^ database_words[0])
    if len(query_words) == 1:
        return distances
    distances = distances.astype(np.uint16 if 64 * len(query_words) < 2**16 else np.uint32)
    for query_word, database_word in zip(query_words[1:], database_words[1:], strict=True):
        distances += np.bitwise_count(query_word[:, None] ^ database_word)
    return distances


def spherical_word_distances(
    query_words: NDArray[np.uint64], database_words: NDArray[np.uint64]
) -> NDArray[np.float64]:
    """Compute all spherical Hamming distances between two small blocks of words.

    Parameters
    ----------
    query_words : ndarray of shape (n_words, n_queries), dtype uint64
        From :func:`to_words`.

    database_words : ndarray of shape (n_words, n_database), dtype uint64
        From :func:`to_words`.

    Returns
    -------
    distances : ndarray of shape (n_queries, n_database), dtype float64
        ``|q XOR x| / (|q AND x| + 0.1)``.
    """
    n_set = [np.bitwise_count(words).sum(axis=0, dtype=np.int64) for words in (query_words, database_words)]
    return spherical_quotients(word_distances(query_words, database_words), n_set[0][:, None], n_set[1])


def spherical_quotients(
    n_differing: NDArray, query_n_set: NDArray[np.int64], database_n_set: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Compute spherical Hamming distances from counts of bits.

    Parameters
    ----------
    n_differing : ndarray of int
        Bits in which two codes differ.

    query_n_set : ndarray of int64
        Bits set in the one.

    database_n_set : ndarray of int64
        Bits set in the other.

    Returns
    -------
    distances : ndarray of float64
        Their shapes broadcast.
    """
    # |a| + |b| = |a XOR b| + 2 |a AND b|. A quotient of integers is rounded once, so that equal quotients stay equal.
    n_shared_twice = query_n_set + database_n_set - n_differing
    return 10.0 * n_differing / (5 * n_shared_twice + 1)


def asymmetric_tables(projections: NDArray) -> NDArray[np.float64]:
    """Tabulate what each byte of a code adds to its asymmetric distance from a query.

    A bit that differs from the sign of the query's projection costs the magnitude of that projection, padding costs
    nothing. Costs of a byte are added from its last bit to its first, so that the sums do not depend on the machine.

    Parameters
    ----------
    projections : ndarray of shape (n_queries, n_bits)
        Real numbers whose signs are the bits of the queries.

    Returns
    -------
    tables : ndarray of shape (n_queries, ceil(n_bits / 8), 256), dtype float64
        ``tables[q, b, v]`` is the cost of value v in byte b of a code for query q.
    """
    n_queries, n_bits = projections.shape
    n_bytes = code_width(n_bits)
    padded = np.zeros((n_queries, 8 * n_bytes))
    padded[:, :n_bits] = projections
    padded = padded.reshape(n_queries * n_bytes, 8)
    costs_of_zeros, costs_of_ones = np.maximum(padded, 0), np.maximum(-padded, 0)
    tables = np.zeros((len(padded), 1))
    # The last bit is the lowest of the byte, so each bit before it doubles the number of values.
    for bit in reversed(range(8)):
        tables = np.concatenate([tables + costs_of_zeros[:, [bit]], tables + costs_of_ones[:, [bit]]], axis=1)
    return tables.reshape(n_queries, n_bytes, 256)
