"""Databases of codes on their way to and from the formats of others: what all formats share.

What goes over is the codes, in the order of adding where a format has one, their ids, and their labels where there is
room for them. Parameters of the search and names of byte columns stay behind.
"""

from contextlib import contextmanager

import numpy as np

from ..codes import check_codes, reverse_bit_order
from ..neighbors import HammingNearestNeighbors
from ._errors import FileFormatError
from ._files import open_for_reading

_BIT_ORDERS = ("big", "little")


def database_of(search, bit_order, drop_labels, *, name, format):
    """Take codes, ids or None for positions, and labels of a search, all of one moment."""
    if not isinstance(search, HammingNearestNeighbors):
        raise TypeError(
            f"{name}: takes a fitted HammingNearestNeighbors, got a {type(search).__name__}; of a pipeline, pass the "
            "last step, of codes, HammingNearestNeighbors().fit(codes)."
        )
    _check_bit_order(bit_order, name)
    engine, ids, labels = search._checked_database()
    if labels is not None and not drop_labels:
        raise ValueError(f"{name}: the search has labels, and {format} has no room for them; pass drop_labels=True.")
    codes = np.ascontiguousarray(engine.codes())
    if bit_order == "little" and len(codes):
        codes = reverse_bit_order(codes)
    return codes, ids, labels


def search_on(codes, ids, labels, bit_order, *, name, n_bits=None):
    """Fit a search on what was read, with errors that name the function that read it."""
    _check_bit_order(bit_order, name)
    if bit_order == "little":
        codes = reverse_bit_order(codes)
    if n_bits is not None:
        codes = check_codes(codes, n_bits=n_bits, name=name)
    try:
        return HammingNearestNeighbors().fit(codes, labels, ids=ids)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error


def _check_bit_order(bit_order, name):
    if bit_order not in _BIT_ORDERS:
        raise ValueError(f"{name}: bit_order={bit_order!r} must be 'big' or 'little'.")


def check_any(n_codes, called):
    """Refuse what holds no codes, and call it so."""
    if not n_codes:
        raise ValueError(f"{called} holds no codes; a search is fitted on at least one.")


def are_positions(ids):
    """Tell whether ids, at least one, are 0, 1, 2 and so on."""
    return bool(ids[0] == 0 and ids[-1] == len(ids) - 1 and (np.diff(ids) == 1).all())


def plain_labels(labels, *, name):
    """Turn arrays of Python objects, as of data frames, into arrays of one type, or refuse them."""
    if labels.dtype.kind not in ("O", "T"):
        return labels
    values = labels.tolist()
    plain = np.array(values) if len(set(map(type, values))) == 1 else labels
    if plain.dtype.kind not in "biufUS" or plain.shape != labels.shape or plain.tolist() != values:
        raise ValueError(
            f"{name}: labels of dtype {labels.dtype} cannot be written, got {values[0]!r}; fit with labels of one "
            "type, such as y.astype(str)."
        )
    return plain


@contextmanager
def opened(path):
    """Open a file, and close it in the end, unless the caller had opened it."""
    file, is_own = open_for_reading(path)
    try:
        yield file
    finally:
        if is_own:
            file.close()


@contextmanager
def format_errors(called, format):
    """Turn the errors of many kinds that readers raise for damaged files into one, in one line."""
    try:
        yield
    except FileFormatError as error:
        raise FileFormatError(f"{called} {error}") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FileFormatError(
            f"{called} is no {format} file that can be read, or is damaged ({reason}); write it again."
        ) from error
