"""The log beside a saved index: what was done to it since, one record an operation.

A log starts with a head that names the file it belongs to, and two places for the number of bytes that are
*acknowledged*. A record is written, brought to the disk, and then acknowledged in the place that was not used last; so
one of the two is whole at any instant. Acknowledged bytes must all be sound. What follows them was left by a writer
that was stopped: whole records count, a part of one does not.
"""

import contextlib
import os
import secrets
import stat
import struct
import weakref
import zlib

from ._errors import CorruptFileError, FileFormatError, UnsupportedVersionError
from ._files import atomic_writer, file_name, sync_folder

MAGIC = b"\x89SKHLOG\n"
FORMAT_VERSION = 1
OLDEST_READER = 1

# Magic, format, oldest reader, fingerprint of the file, random bytes that tell this log from another of the same file.
_HEAD = struct.Struct("<8sII16s8s")
_CRC = struct.Struct("<I")
# Number of acknowledged bytes, and a checksum.
_ACKNOWLEDGED = struct.Struct("<QI")
_HEAD_BYTES = _HEAD.size + _CRC.size
FIRST_RECORD = _HEAD_BYTES + 2 * _ACKNOWLEDGED.size
# Mark, kind, number of the record, bytes of its content, crc32 of the content; then a crc32 of all that.
_RECORD = struct.Struct("<4sB3xQQI")
_MARK = b"\x9dREC"
RECORD_BYTES = _RECORD.size + _CRC.size
_FINGERPRINT_BYTES = 16
# Pieces in which contents that are not kept are read, and the remains of a torn record searched for others.
_PIECE_BYTES = 2**20


def _seek_and_read(descriptor, n_bytes, start):
    os.lseek(descriptor, start, os.SEEK_SET)
    return os.read(descriptor, n_bytes)


# Windows has none.
_pread = getattr(os, "pread", _seek_and_read)


class Log:
    """An open log.

    Parameters
    ----------
    path : str
        The log.

    descriptor : int
        Of the open file, which `close` closes.

    Attributes
    ----------
    versions : tuple of int
        Format, and oldest format whose readers understand it.

    fingerprint : str
        Of the file that it belongs to.

    stop : int
        Bytes from the start of the log to the end of the last record that was read or written.

    n_records : int
        Number of the records before `stop`.

    is_in_doubt : bool
        Whether a record that could not be written could not be cut off either.
    """

    def __init__(self, path, descriptor):
        self._descriptor = descriptor
        self._close = weakref.finalize(self, os.close, descriptor)
        self._name = file_name(path)
        try:
            self._read_head()
        except BaseException:
            self.close()
            raise
        self._next_place = 0
        self.stop, self.n_records, self.is_in_doubt = FIRST_RECORD, 0, False

    def _read_head(self):
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            raise self._corrupt("it is no regular file")
        head = self._read(0, _HEAD_BYTES)
        if len(head) < _HEAD_BYTES or not head.startswith(MAGIC):
            raise self._corrupt("its head is cut off or no head of a log")
        if zlib.crc32(head[: _HEAD.size]) != _CRC.unpack(head[_HEAD.size :])[0]:
            raise self._corrupt("its head is damaged")
        _, version, oldest_reader, fingerprint, self._nonce = _HEAD.unpack(head[: _HEAD.size])
        if oldest_reader > FORMAT_VERSION:
            raise UnsupportedVersionError(
                f"{self._name}: is a log of format {version}, which this version of skhash does not read (it reads up "
                f"to {FORMAT_VERSION}); use a newer one."
            )
        self.versions = version, oldest_reader
        self.fingerprint = fingerprint.decode("ascii", errors="replace")
        self._seed = zlib.crc32(self._nonce)

    def close(self):
        """Close the file, unless it is closed."""
        self._close()

    def goes_on_from(self, place):
        """Skip records that were read before, unless they were those of another log.

        Parameters
        ----------
        place : tuple
            The attribute `place` of a log after those records.

        Returns
        -------
        is_same : bool
            Whether this is that log.
        """
        nonce, stop, n_records = place
        if nonce == self._nonce:
            self.stop, self.n_records = stop, n_records
        return nonce == self._nonce

    @property
    def place(self):
        """Where a log was left, for `goes_on_from`."""
        return self._nonce, self.stop, self.n_records

    def n_acknowledged(self):
        """Read how many bytes are acknowledged."""
        found = []
        places = self._read(_HEAD_BYTES, 2 * _ACKNOWLEDGED.size)
        for place in range(2):
            raw = places[place * _ACKNOWLEDGED.size : (place + 1) * _ACKNOWLEDGED.size]
            if len(raw) == _ACKNOWLEDGED.size:
                n_bytes, checksum = _ACKNOWLEDGED.unpack(raw)
                if checksum == zlib.crc32(raw[:8], self._seed):
                    found.append((n_bytes, place))
        if not found:
            raise self._corrupt("its number of acknowledged bytes is damaged")
        n_bytes, place = max(found)
        self._next_place = 1 - place
        if n_bytes < FIRST_RECORD:
            raise self._corrupt(f"{n_bytes} acknowledged bytes cannot be")
        return n_bytes

    def n_bytes(self):
        """Size of the file."""
        return os.fstat(self._descriptor).st_size

    def acknowledged_records(self, *, n_first=None):
        """Read the acknowledged records after `stop`.

        Parameters
        ----------
        n_first : int, default=None
            The first bytes of a content that are kept; all are checked, in little memory. None keeps all.

        Yields
        ------
        kind : int
            Of the operation.

        content : bytes
            What `append` got, or its first bytes.

        n_bytes : int
            Length of what `append` got.

        Raises
        ------
        CorruptFileError
            If one of them is damaged.
        """
        n_acknowledged = self.n_acknowledged()
        if self.n_bytes() < n_acknowledged:
            raise self._corrupt(f"it is cut off after {self.n_bytes()} of {n_acknowledged} acknowledged bytes")
        while self.stop < n_acknowledged:
            found = self._record(n_acknowledged, n_first)
            if found is None:
                raise self._corrupt(f"its record {self.n_records}, at byte {self.stop}, is damaged")
            self._step_over(found[2])
            yield found

    def left_records(self, *, n_first=None):
        """Read the whole records that a stopped writer left after the acknowledged ones.

        Parameters
        ----------
        n_first : int, default=None
            As in `acknowledged_records`.

        Yields
        ------
        kind, content, n_bytes
            As there.

        Raises
        ------
        CorruptFileError
            If a record is no whole one, but another follows.
        """
        n_bytes = self.n_bytes()
        while (found := self._record(n_bytes, n_first)) is not None:
            self._step_over(found[2])
            yield found
        self._check_nothing_follows(n_bytes)

    def append(self, kind, content):
        """Write a record and acknowledge it; only for whoever holds the lock.

        Parameters
        ----------
        kind : int
            Of the operation, from 0 to 255.

        content : bytes
            What a reader needs to do the same.

        Raises
        ------
        OSError
            If the disk is full or fails. The log is then as long as before.
        """
        self.is_in_doubt = True
        try:
            self._write(self._framed(kind, content), self.stop)
            os.fsync(self._descriptor)
            self.acknowledge(self.stop + RECORD_BYTES + len(content))
        except BaseException:
            self.roll_back()
            # An interrupt may have come after the record was acknowledged.
            self.is_in_doubt = self.n_acknowledged() > self.stop
            raise
        self._step_over(len(content))
        self.is_in_doubt = False

    def acknowledge(self, n_bytes):
        """Say that the first bytes of the log are on the disk."""
        raw = struct.pack("<Q", n_bytes)
        place = _HEAD_BYTES + self._next_place * _ACKNOWLEDGED.size
        self._write(raw + _CRC.pack(zlib.crc32(raw, self._seed)), place)
        self._next_place = 1 - self._next_place

    def roll_back(self):
        """Cut off what is not acknowledged, and wait until that is on the disk."""
        os.ftruncate(self._descriptor, self.n_acknowledged())
        os.fsync(self._descriptor)

    def settle(self):
        """Acknowledge all records up to `stop`, and cut off what follows them."""
        if self.n_acknowledged() < self.stop:
            os.fsync(self._descriptor)
            self.acknowledge(self.stop)
        if self.n_bytes() > self.stop:
            self.roll_back()

    def _framed(self, kind, content):
        head = _RECORD.pack(_MARK, kind, self.n_records, len(content), zlib.crc32(content, self._seed))
        return head + _CRC.pack(zlib.crc32(head, self._seed)) + content

    def _step_over(self, n_bytes):
        self.stop += RECORD_BYTES + n_bytes
        self.n_records += 1

    def _record(self, limit, n_first):
        """Read the record at `stop`, or None if there is no sound one before a limit."""
        if self.stop + RECORD_BYTES > limit:
            return None
        found = self._record_head(self._read(self.stop, RECORD_BYTES))
        if found is None:
            return None
        kind, number, n_bytes, checksum = found
        if number != self.n_records or n_bytes > limit - self.stop - RECORD_BYTES:
            return None
        content, found_checksum = self._content(n_bytes, n_first)
        return (kind, content, n_bytes) if found_checksum == checksum else None

    def _content(self, n_bytes, n_first):
        """Read the first bytes of a content, and compute the crc32 of all, None if the file ends before them."""
        start = self.stop + RECORD_BYTES
        content = piece = self._read(start, n_bytes if n_first is None else min(n_bytes, n_first))
        n_read, checksum = len(content), zlib.crc32(content, self._seed)
        while piece and n_read < n_bytes:
            piece = self._read(start + n_read, min(_PIECE_BYTES, n_bytes - n_read))
            n_read, checksum = n_read + len(piece), zlib.crc32(piece, checksum)
        return content, checksum if n_read == n_bytes else None

    def _record_head(self, raw):
        if (
            len(raw) < RECORD_BYTES
            or zlib.crc32(raw[: _RECORD.size], self._seed) != _CRC.unpack(raw[_RECORD.size :])[0]
        ):
            return None
        mark, *found = _RECORD.unpack(raw[: _RECORD.size])
        return found if mark == _MARK else None

    def _check_nothing_follows(self, n_bytes):
        """Refuse a log that goes on after a damaged record: a writer that was stopped has left nothing behind it."""
        start = self.stop + 1
        while start < n_bytes:
            piece = self._read(start, _PIECE_BYTES + RECORD_BYTES)
            place = piece.find(_MARK)
            while 0 <= place < _PIECE_BYTES:
                if self._record_head(piece[place : place + RECORD_BYTES]) is not None:
                    raise self._corrupt(f"its record {self.n_records}, at byte {self.stop}, is damaged")
                place = piece.find(_MARK, place + 1)
            start += _PIECE_BYTES

    def _read(self, start, n_bytes):
        """Read bytes, fewer if the file ends."""
        parts = []
        while n_bytes:
            part = _pread(self._descriptor, n_bytes, start)
            if not part:
                break
            parts.append(part)
            start, n_bytes = start + len(part), n_bytes - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _write(self, data, start):
        data = memoryview(data)
        while len(data):
            n_written = os.pwrite(self._descriptor, data, start)
            data, start = data[n_written:], start + n_written

    def _corrupt(self, what):
        return CorruptFileError(
            f"{self._name}: {what}; restore it, or remove it to go back to what the file without it holds."
        )


def open_log(path, *, is_writable=False):
    """Open a log.

    Parameters
    ----------
    path : str
        The log.

    is_writable : bool, default=False
        Whether records can be appended.

    Returns
    -------
    log : Log or None
        None if there is none.

    Raises
    ------
    FileFormatError
        If it is none of this format, or damaged.
    """
    flags = (os.O_RDWR if is_writable else os.O_RDONLY) | getattr(os, "O_BINARY", 0)
    # Opening a pipe of this name must not wait for somebody who writes to it.
    flags |= getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return None
    return Log(path, descriptor)


def create_log(path, fingerprint):
    """Write an empty log, in place of one that belongs to another file.

    Parameters
    ----------
    path : str
        The log.

    fingerprint : str
        Of the file that it is to belong to.

    Returns
    -------
    log : Log
        Writable.
    """
    name = fingerprint.encode("ascii")
    if len(name) != _FINGERPRINT_BYTES:
        raise FileFormatError(f"{file_name(path)}: a fingerprint has {_FINGERPRINT_BYTES} digits, got {fingerprint!r}.")
    nonce = secrets.token_bytes(8)
    head = _HEAD.pack(MAGIC, FORMAT_VERSION, OLDEST_READER, name, nonce)
    raw = struct.pack("<Q", FIRST_RECORD)
    place = raw + _CRC.pack(zlib.crc32(raw, zlib.crc32(nonce)))
    with atomic_writer(path) as file:
        file.write(head + _CRC.pack(zlib.crc32(head)) + 2 * place)
    return open_log(path, is_writable=True)


def remove_log(path):
    """Remove a log, if there is one, and wait until that is on the disk."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        sync_folder(os.path.dirname(path))
