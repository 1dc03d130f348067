"""A saved index that grows on the disk, and is read by others meanwhile."""

import os
import threading
import time
import warnings
from numbers import Real

from ..neighbors import HammingNearestNeighbors
from ._changes import Changes
from ._container import open_container, write_container
from ._errors import FileFormatError
from ._files import file_name, is_address
from ._lock import WriterLock, no_writer
from ._log import create_log, open_log, remove_log
from ._log_records import ADD, REMOVE, encode_addition, encode_removal, merged
from ._saving import describe, load_from_container

# Logs that cost less are not worth a new file. A record costs its bytes, and time as much as this many.
_FEWEST_BYTES_TO_COMPACT = 2**24
_BYTES_A_RECORD = 2**12
# A compaction may replace the file while it is opened, again and again where there is little to compact.
_SECONDS_TO_OPEN = 60


class SavedIndex:
    """A saved `HammingNearestNeighbors` to which codes are added, and from which they are removed, on the disk.

    Changes are written to a log beside the file, ``<path>.log``. When `add` or `remove` returns, its change is on the
    disk: it outlives a killed process, a full disk and a loss of power. A change that was interrupted before it
    returned is there as a whole or not at all. `compact` writes everything to the file and removes the log.

    One process writes at a time, from its first change until `close`; any number of processes and threads may read
    meanwhile. :func:`skhash.load` gives the same as `snapshot`. To move an index, compact it, or move the log with it.

    Parameters
    ----------
    path : str or os.PathLike
        A file that :func:`skhash.save` wrote, with a fitted `HammingNearestNeighbors`.

    mmap : bool, default=False
        Whether to leave the codes of a large database in the file, as in :func:`skhash.load`. What the log holds is
        kept in memory.

    timeout : float, default=0.0
        Seconds that the first change waits for another writer.

    compact_at : float, default=1.0
        The log is compacted by itself when it is longer than this share of the file and than 16 MiB, where each change
        counts 4 KiB beside its bytes; None leaves that to the caller.

    Attributes
    ----------
    path : str
        The file, with symbolic links followed.

    n_samples : int
        Number of codes.

    log_bytes : int
        Length of the log, 0 if there is none.

    See Also
    --------
    skhash.save : Write the file.
    skhash.HammingNearestNeighbors : The same search in memory.

    Examples
    --------
    >>> import os, tempfile
    >>> import skhash
    >>> from skhash.persistence import SavedIndex
    >>> path = os.path.join(tempfile.mkdtemp(), "photos.skhash")
    >>> search = skhash.HammingNearestNeighbors(n_neighbors=1).fit([[0b0000], [0b0111]], ids=[10, 11])
    >>> skhash.save(search, path)
    >>> with SavedIndex(path) as index:
    ...     index.add([[0b0011]], ids=[12]).remove([11]).n_samples
    2
    >>> skhash.load(path).kneighbors([[0b0111]])
    (array([[1]], dtype=int32), array([[12]]))
    """

    def __init__(self, path, *, mmap=False, timeout=0.0, compact_at=1.0):
        if is_address(path) or not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"SavedIndex: path={path!r} must be the path of a file on this machine.")
        for name, value in (("timeout", timeout), ("compact_at", compact_at)):
            is_none = name == "compact_at" and value is None
            if not is_none and (isinstance(value, bool) or not isinstance(value, Real) or not value >= 0):
                raise ValueError(f"SavedIndex: {name}={value!r} must be a number >= 0.")
        self._path = os.path.realpath(os.fsdecode(path))
        self._mmap, self._timeout, self._compact_at = mmap, timeout, compact_at
        self._fewest_bytes_to_compact = _FEWEST_BYTES_TO_COMPACT
        self._log_path, self._lock_path = paths_beside(self._path)
        self._lock = WriterLock(self._lock_path, self._path)
        self._mutex = threading.RLock()
        # The open log of a writer; where the log was left, or None if there was none.
        self._log, self._place = None, None
        self._reload(is_writer=False)

    @property
    def path(self):
        return self._path

    @property
    def n_samples(self):
        with self._mutex:
            return self._sound_changes().n_samples

    @property
    def log_bytes(self):
        with self._mutex:
            return 0 if self._place is None else self._place[1]

    def __len__(self):
        return self.n_samples

    def __repr__(self):
        return f"SavedIndex({self._path!r})"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def add(self, codes, y=None, *, ids=None):
        """Append codes to the database, on the disk.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_bytes)
            Packed codes of the width of the database.

        y : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            Labels; needed exactly when the search was fitted with labels.

        ids : array-like of int of shape (n_samples,), default=None
            Names that are not in use; needed exactly when the search was fitted with ids. The default goes on counting
            positions, those of removed codes included.

        Returns
        -------
        self : SavedIndex
            With the longer database.

        Raises
        ------
        TypeError
            If `codes` or `ids` have a wrong dtype, or a file cannot hold the labels.
        ValueError
            As in :meth:`skhash.HammingNearestNeighbors.add`.
        LockedFileError
            If another writes to the index.
        OSError
            If the disk is full or fails; nothing was added.
        """
        with self._mutex:
            self._begin_writing()
            codes, labels, ids = self._changes.check_addition(codes, y, ids)
            self._write(ADD, encode_addition(codes, labels, ids))
        return self

    def remove(self, ids):
        """Remove codes from the database, on the disk.

        Parameters
        ----------
        ids : int or array-like of int
            Names of the codes to remove.

        Returns
        -------
        self : SavedIndex
            With the shorter database; the order of the rest is unchanged.

        Raises
        ------
        TypeError
            If `ids` are no integers.
        ValueError
            If an id is not in the database or occurs twice.
        LockedFileError
            If another writes to the index.
        OSError
            If the disk is full or fails; nothing was removed.
        """
        with self._mutex:
            self._begin_writing()
            ids = self._changes.check_removal(ids)
            if len(ids):
                self._write(REMOVE, encode_removal(ids))
        return self

    def compact(self):
        """Write the database to the file, without the log.

        The new file takes the place of the old one as a whole, so readers and a crash at any instant find the one or
        the other. Takes the memory of the codes, and disk for a second file.

        Returns
        -------
        self : SavedIndex
            With the same database.

        Raises
        ------
        LockedFileError
            If another writes to the index.
        OSError
            If the disk is full or fails; the file and its log are then as before.
        """
        with self._mutex:
            self._begin_writing()
            if self._place is None:
                return self
            search = self._changes.search()
            manifest, arrays = describe(search)
            if self._card is not None:
                manifest["card"] = self._card
            try:
                write_container(self._path, manifest, arrays)
            except BaseException:
                # An interrupt may have come after the old file was replaced.
                self._is_in_doubt = _signature(self._path) != self._signature
                raise
            self._is_in_doubt = True
            self._close_log()
            remove_log(self._log_path)
            if self._mmap:
                self._reload(is_writer=True)
            else:
                self._signature, container = self._open_file()
                with container:
                    self._fingerprint = container.fingerprint
            self._place, self._is_in_doubt = None, False
        return self

    def refresh(self):
        """Take up what others have written since; the file is read again only if it was compacted.

        Returns
        -------
        self : SavedIndex
            As it is on the disk.

        Raises
        ------
        FileFormatError
            If the file or its log is damaged.
        """
        with self._mutex:
            # Nobody else writes while this one may.
            if not self._lock.is_held:
                self._update(is_writer=False)
        return self

    def snapshot(self):
        """Make a search of the database as it was when it was last read or written here.

        Returns
        -------
        search : HammingNearestNeighbors
            Fitted, with the parameters that were saved. Later changes of the index do not change it, nor the other
            way round.
        """
        with self._mutex:
            return self._sound_changes().search()

    def close(self):
        """Let others write. A further `add`, `remove` or `compact` begins anew."""
        with self._mutex:
            self._close_log()
            self._lock.release()

    def _sound_changes(self):
        if self._is_in_doubt:
            self._recover(is_writer=self._lock.is_held)
        return self._changes

    def _begin_writing(self):
        """Become the writer, and take up what others have written."""
        if not self._lock.is_held:
            self._lock.acquire(self._timeout)
            try:
                self._update(is_writer=True)
            except BaseException:
                self.close()
                raise
        elif self._is_in_doubt or (self._log is not None and self._log.is_in_doubt):
            self._recover(is_writer=True)
        if _signature(self._path) != self._signature:
            self._check_is_same_file()

    def _check_is_same_file(self):
        """Refuse to go on with a log whose file was replaced by one that knows nothing of it."""
        self._signature, container = self._open_file()
        with container:
            if container.fingerprint == self._fingerprint:
                return
        self._is_in_doubt = True
        raise FileFormatError(
            f"{file_name(self._path)}: was replaced by somebody else while it was being written to; what was added to "
            "the old one is lost, the next call goes on with the new one."
        )

    def _write(self, kind, content):
        if self._log is None:
            self._log = create_log(self._log_path, self._fingerprint)
        try:
            self._log.append(kind, content)
        except BaseException:
            self._is_in_doubt = self._log.is_in_doubt
            raise
        self._is_in_doubt = True
        self._apply([(kind, content, len(content))])
        self._place, self._is_in_doubt = self._log.place, False
        self._compact_if_worthwhile()

    def _compact_if_worthwhile(self):
        size = self._log.stop + _BYTES_A_RECORD * self._log.n_records
        if self._compact_at is None or size < max(self._fewest_bytes_to_compact, self._compact_at * self._signature[2]):
            return
        try:
            self.compact()
        except OSError as error:
            # The change itself is safe, and the next try is not far.
            self._fewest_bytes_to_compact = 2 * size
            warnings.warn(
                f"{file_name(self._path)}: could not be compacted ({error}); its log goes on growing.",
                UserWarning,
                stacklevel=4,
            )

    def _recover(self, *, is_writer):
        """Read everything again, after cutting off what a failed call left behind."""
        if self._log is not None and is_writer:
            self._log.roll_back()
        self._reload(is_writer=is_writer)

    def _update(self, *, is_writer):
        """Read what is new in the log, or everything if the file or the log is another one."""
        if self._is_in_doubt or _signature(self._path) != self._signature:
            self._reload(is_writer=is_writer)
            return
        log = self._open_own_log(is_writer)
        if log is None and self._place is None:
            return
        if log is None or not (self._place is None or log.goes_on_from(self._place)):
            if log is not None:
                log.close()
            self._reload(is_writer=is_writer)
            return
        self._read_log(log, is_writer)

    def _reload(self, *, is_writer):
        """Read the file and its log."""
        self._is_in_doubt = True
        self._close_log()
        deadline = time.monotonic() + _SECONDS_TO_OPEN
        while True:
            signature, container = self._open_file()
            with container:
                self._fingerprint = container.fingerprint
                log = self._open_own_log(is_writer)
                # No log may mean that a compaction has just removed it, and that there is a new file.
                if log is None and _signature(self._path) != signature:
                    if time.monotonic() > deadline:
                        raise OSError(
                            f"{file_name(self._path)}: is replaced faster than it is opened; try again later."
                        )
                    continue
                try:
                    self._changes = Changes(self._load_search(container))
                except BaseException:
                    if log is not None:
                        log.close()
                    raise
            break
        self._signature, self._place = signature, None
        if log is not None:
            self._read_log(log, is_writer)
        self._is_in_doubt = False

    def _open_file(self):
        """Open the file; its signature tells whether it is replaced later."""
        while True:
            signature = _signature(self._path)
            container = open_container(self._path, mmap=self._mmap)
            if _signature(self._path) == signature:
                return signature, container
            container.close()

    def _load_search(self, container):
        search, self._card = load_from_container(container, mmap=self._mmap), container.manifest.get("card")
        if not isinstance(search, HammingNearestNeighbors) or not hasattr(search, "_database"):
            raise FileFormatError(
                f"{container.name}: holds no fitted HammingNearestNeighbors but a {type(search).__name__}; SavedIndex "
                "adds to the former only, load this with skhash.load."
            )
        return search

    def _open_own_log(self, is_writer):
        """Open the log if it belongs to the file. That of an older file has been compacted, and a writer removes it."""
        log = open_log(self._log_path, is_writable=is_writer)
        if log is None or log.fingerprint == self._fingerprint:
            return log
        log.close()
        if is_writer:
            remove_log(self._log_path)
        return None

    def _read_log(self, log, is_writer):
        """Apply the records that were not read yet."""
        self._is_in_doubt = True
        try:
            self._apply(log.acknowledged_records())
            if is_writer:
                self._apply(log.left_records())
                log.settle()
            elif log.n_bytes() > log.stop:
                # Either somebody is writing, who will acknowledge it, or was stopped.
                with no_writer(self._lock_path) as is_free:
                    if is_free:
                        self._apply(log.acknowledged_records())
                        self._apply(log.left_records())
        except BaseException:
            log.close()
            raise
        self._place = log.place
        if is_writer:
            self._close_log()
            self._log = log
        else:
            log.close()
        self._is_in_doubt = False

    def _apply(self, records):
        """Do what records say, by the rules of `HammingNearestNeighbors`."""
        name = file_name(self._log_path)
        try:
            for kind, change in merged(records, name):
                if kind == ADD:
                    self._changes.add(*change)
                else:
                    self._changes.remove(change)
        except FileFormatError:
            raise
        except (TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise FileFormatError(f"{name}: holds a record that does not fit the file ({reason}).") from error

    def _close_log(self):
        log, self._log = self._log, None
        if log is not None:
            log.close()


def fingerprint_of_log(path):
    """Tell which file the log beside a file belongs to.

    Parameters
    ----------
    path : str, os.PathLike or binary file object
        What `skhash.load` got.

    Returns
    -------
    fingerprint : str or None
        That of the container; None if there is no log.
    """
    beside = paths_beside(path)
    log = None if beside is None else open_log(beside[0])
    if log is None:
        return None
    log.close()
    return log.fingerprint


def paths_beside(path):
    """Tell where the log of a file lies, and the lock of its writer.

    Parameters
    ----------
    path : str, os.PathLike or binary file object
        What `skhash.load` got.

    Returns
    -------
    paths : tuple of str, or None
        Log and lock; None for what is no path on this machine.
    """
    if is_address(path) or not isinstance(path, (str, bytes, os.PathLike)):
        return None
    path = os.path.realpath(os.fsdecode(path))
    return f"{path}.log", f"{path}.lock"


def _signature(path):
    """What differs when a file is replaced."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
