"""What a record of a log says: codes that were added with their ids and labels, or ids that were removed."""

import io
import struct
from itertools import groupby, islice

import numpy as np

from ._container import open_container, write_container
from ._encoding import Decoder, Encoder
from ._errors import FileFormatError

ADD, REMOVE = 1, 2

# Codes, bytes of a code, whether ids follow, whether labels follow.
_ADDITION = struct.Struct("<QIBB")
# What `count_changes` needs of a content.
N_FIRST_BYTES = _ADDITION.size
# Dtype, columns of labels (0 for one label a code). All zeros where a container holds the labels.
_LABELS = struct.Struct("<4sQ")
_MOST_RECORDS_AT_ONCE = 4096
_PLAIN_DTYPES = {f"{kind}{size}" for kind in "iuf" for size in (1, 2, 4, 8)} - {"f1"}


def encode_addition(codes, labels, ids):
    """Write what `add` got.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_bytes), dtype uint8
        Packed codes.

    labels : ndarray of shape (n_samples,) or (n_samples, n_labels), or None
        Labels.

    ids : ndarray of shape (n_samples,), dtype int64, or None
        Names.

    Returns
    -------
    content : bytes
        For `merged`.

    Raises
    ------
    TypeError
        If labels are what a file cannot hold.
    """
    parts = [_ADDITION.pack(*codes.shape, ids is not None, labels is not None), codes.tobytes()]
    if ids is not None:
        parts.append(ids.astype("<i8").tobytes())
    if labels is not None:
        parts += _encoded_labels(labels)
    return b"".join(parts)


def encode_removal(ids):
    """Write which ids were removed."""
    return ids.astype("<i8").tobytes()


def merged(records, name):
    """Read records, many of a kind at once.

    Parameters
    ----------
    records : iterable of (int, bytes, int)
        Kind, content and length of the content of each.

    name : str
        The log, for messages.

    Yields
    ------
    kind : int
        `ADD` or `REMOVE`.

    change : tuple or ndarray
        Codes of shape (n_samples, n_bytes), labels or None, and ids or None; or ids. Nothing but their lengths was
        checked.

    Raises
    ------
    FileFormatError
        If the lengths of a record do not fit together.
    """
    for (kind, *_), group in groupby(_decoded(records, name), key=_alike):
        while batch := [change for _, change in islice(group, _MOST_RECORDS_AT_ONCE)]:
            if kind == REMOVE:
                yield kind, np.concatenate(batch)
            else:
                yield kind, tuple(None if parts[0] is None else _joined(parts) for parts in zip(*batch, strict=True))


def count_changes(records, name):
    """Count what records change, by their first bytes.

    Parameters
    ----------
    records : iterable of (int, bytes, int)
        Kind, first `N_FIRST_BYTES` bytes of the content, and length of the content of each.

    name : str
        The log, for messages.

    Returns
    -------
    n_added, n_removed : int
        Codes. Whether the removed ones are in the database was not checked.

    Raises
    ------
    FileFormatError
        If the lengths of a record do not fit together.
    """
    n_added = n_removed = 0
    for kind, content, n_bytes in records:
        if kind == ADD:
            n_added += _addition_head(content, n_bytes, name)[0]
        elif kind == REMOVE:
            n_removed += _n_removed(n_bytes, name)
        else:
            raise _unknown_kind(kind, name)
    return n_added, n_removed


def _decoded(records, name):
    for kind, content, _ in records:
        if kind == ADD:
            yield kind, _decoded_addition(content, name)
        elif kind == REMOVE:
            yield kind, _decoded_removal(content, name)
        else:
            raise _unknown_kind(kind, name)


def _alike(record):
    """What records have in common whose arrays can be joined without changing a value."""
    kind, change = record
    if kind == REMOVE:
        return (kind,)
    codes, labels, ids = change
    return kind, codes.shape[1], ids is None, None if labels is None else (labels.dtype, labels.shape[1:])


def _joined(parts):
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _n_removed(n_bytes, name):
    """Tell how many ids a removal lists."""
    if n_bytes % 8:
        raise _misfit(name)
    return n_bytes // 8


def _decoded_removal(content, name):
    _n_removed(len(content), name)
    return np.frombuffer(content, "<i8").astype(np.int64, copy=False)


def _addition_head(content, n_bytes, name):
    """Read what an addition says of itself, and check it against the length of all."""
    if n_bytes < _ADDITION.size:
        raise _misfit(name)
    n_samples, n_code_bytes, has_ids, has_labels = _ADDITION.unpack_from(content)
    rest = n_bytes - _ADDITION.size - n_samples * n_code_bytes - 8 * n_samples * has_ids
    if has_ids > 1 or has_labels > 1 or n_samples * n_code_bytes < 1 or rest < 0 or (rest > 0) != has_labels:
        raise _misfit(name)
    return n_samples, n_code_bytes, has_ids, has_labels


def _decoded_addition(content, name):
    n_samples, n_bytes, has_ids, has_labels = _addition_head(content, len(content), name)
    stop = _ADDITION.size + n_samples * n_bytes
    codes = np.frombuffer(content, np.uint8, n_samples * n_bytes, _ADDITION.size).reshape(n_samples, n_bytes)
    ids = labels = None
    if has_ids:
        ids = np.frombuffer(content, "<i8", n_samples, stop).astype(np.int64, copy=False)
        stop += 8 * n_samples
    if has_labels:
        labels = _decoded_labels(memoryview(content)[stop:], n_samples, name)
    return codes, labels, ids


def _encoded_labels(labels):
    dtype = labels.dtype
    if dtype.str[0] in "<|" and dtype.str[1:] in _PLAIN_DTYPES:
        n_columns = 0 if labels.ndim == 1 else labels.shape[1]
        return [_LABELS.pack(dtype.str[1:].encode("ascii"), n_columns), labels.tobytes()]
    encoder, file = Encoder(), io.BytesIO()
    write_container(file, {"labels": encoder.encode(labels, "y")}, encoder.arrays)
    return [bytes(_LABELS.size), file.getvalue()]


def _decoded_labels(data, n_samples, name):
    if len(data) < _LABELS.size:
        raise _misfit(name)
    text, n_columns = _LABELS.unpack_from(data)
    data = data[_LABELS.size :]
    if not any(text):
        with open_container(io.BytesIO(data)) as container:
            labels = Decoder(container, mmap=False).decode_all(container.manifest.get("labels"))
        if not isinstance(labels, np.ndarray):
            raise _misfit(name)
        return labels
    text = text.rstrip(b"\0").decode("ascii", errors="replace")
    if text not in _PLAIN_DTYPES:
        raise _misfit(name)
    dtype = np.dtype(f"<{text}")
    if len(data) != n_samples * max(1, n_columns) * dtype.itemsize:
        raise _misfit(name)
    shape = (n_samples, n_columns) if n_columns else (n_samples,)
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _unknown_kind(kind, name):
    return FileFormatError(f"{name}: holds a record of the unknown kind {kind}; use a newer version of skhash.")


def _misfit(name):
    return FileFormatError(f"{name}: holds a record whose lengths do not fit together.")
