"""Temporary files that tell whose they are, and are removed by the next writer when theirs was killed.

A writer holds a lock on its temporary file from its first byte until the file has its final name. The system frees the
lock of a killed writer, so whoever gets the lock of a file that still has its temporary name may remove it. Nothing but
the removal depends on locks: names are random, so that a writer whose file was taken away, as on two machines that
share a folder but no locks, fails and leaves the old file alone.
"""

import contextlib
import os
import re
import secrets
import stat
import zlib
from itertools import islice

from ._flock import HAS_LOCKS, try_lock

# Some encrypted folders allow names of 143 bytes. Longer names are cut off, and told apart by a checksum.
_MOST_NAME_BYTES = 100
_CUT_NAME_BYTES = 88
# Looking at these takes some fifteen milliseconds, about as long as a small file takes to get to the disk.
_MOST_FILES_SEARCHED = 2**14
# One is enough, unless others look for left files in the instant before each is locked.
_MOST_TRIES = 10


@contextlib.contextmanager
def temporary_file(path, mode):
    """Make an empty file beside another one, and keep it from being removed by other writers.

    Parameters
    ----------
    path : str
        The other file, with symbolic links followed.

    mode : int or None
        Rights, of which the process' mask is taken away; None for those of a new file.

    Yields
    ------
    temporary : str
        Path of the new file, in the same folder. The caller renames or removes it.

    descriptor : int
        Opened for writing and reading; the caller closes it.
    """
    temporary, descriptor, is_locked = _create(path, mode)
    # The file stays locked until both descriptors are closed.
    guard = os.dup(descriptor) if is_locked else None
    try:
        yield temporary, descriptor
    finally:
        if guard is not None:
            os.close(guard)


def _create(path, mode):
    """Make the file, and lock it where the system can."""
    folder, name = os.path.split(path)
    for _ in range(_MOST_TRIES if HAS_LOCKS else 0):
        temporary = os.path.join(folder, f"{_start_of_name(name)}{secrets.token_hex(8)}.tmp")
        descriptor = _open_new(temporary, mode, path)
        try:
            # Somebody may have taken it for a left one before it was locked. Afterwards nobody can.
            if try_lock(descriptor, is_shared=False) and os.path.lexists(temporary):
                return temporary, descriptor, True
        except OSError:
            # The file system has no locks.
            _discard(temporary, descriptor)
            break
        except BaseException:
            _discard(temporary, descriptor)
            raise
        _discard(temporary, descriptor)
    # Nobody removes a file of this name, as nobody could tell whether its writer lives.
    temporary = os.path.join(folder, f".skhash-{secrets.token_hex(8)}.tmp")
    return temporary, _open_new(temporary, mode, path), False


def _open_new(temporary, mode, path):
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    # Whoever may replace a read-only file must be able to open what a killed writer left of it.
    try:
        return os.open(temporary, flags, 0o666 if mode is None else mode | stat.S_IRUSR | stat.S_IWUSR)
    except OSError as error:
        # The caller knows no other name.
        raise OSError(error.errno, error.strerror, path) from error


def _discard(temporary, descriptor):
    with contextlib.suppress(OSError):
        os.unlink(temporary)
    os.close(descriptor)


def remove_left(path):
    """Remove the temporary files that killed writers of a file left, as far as that is possible.

    In a folder of more than 16,384 files not all of them are looked at, lest saving take the time of listing it.

    Parameters
    ----------
    path : str
        The file that was to be written, with symbolic links followed.
    """
    if not HAS_LOCKS:
        return
    folder, name = os.path.split(path)
    pattern = re.compile(f"{re.escape(_start_of_name(name))}[0-9a-f]{{16}}[.]tmp")
    # Removing is a favour: nothing that is in its way keeps the file from being written.
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        searched = islice(entries, _MOST_FILES_SEARCHED)
        for left in [entry for entry in searched if pattern.fullmatch(entry.name)]:
            with contextlib.suppress(OSError):
                if left.is_file(follow_symlinks=False):
                    _remove_unless_locked(left.path)


def _remove_unless_locked(temporary):
    # For writing, without which network file systems do not lock; links and pipes may have come in between.
    descriptor = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        # A writer that is done has renamed its file, and the name will never be used again.
        if try_lock(descriptor, is_shared=False):
            os.unlink(temporary)
    finally:
        os.close(descriptor)


def _start_of_name(name):
    """Name temporary files by the file that they are for."""
    raw = os.fsencode(name)
    if len(raw) > _MOST_NAME_BYTES:
        # Not every system takes a part of a character.
        name = f"{raw[:_CUT_NAME_BYTES].decode('utf-8', errors='ignore')}~{zlib.crc32(raw):08x}"
    return f".{name}.skhash-"
