"""One writer of a file at a time."""

import contextlib
import os
import time
import weakref

from ._errors import LockedFileError
from ._files import file_name
from ._flock import HAS_LOCKS, try_lock, unlock

_SECONDS_BETWEEN_TRIES = 0.01

# Locks that this process holds.
_held: weakref.WeakSet = weakref.WeakSet()


class WriterLock:
    """A lock on a file beside the one that is written, which the system frees when its holder ends in whatever way.

    The file of the lock is never removed, as two processes might then lock two files of the same name.

    Parameters
    ----------
    path : str
        Where the lock lies.

    target : str
        The file that is written, for messages.
    """

    def __init__(self, path, target):
        self._path, self._target = path, target
        self._descriptor = self._close = None

    @property
    def is_held(self):
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self, timeout):
        """Take the lock.

        Parameters
        ----------
        timeout : float
            Seconds to wait while another holds it.

        Raises
        ------
        LockedFileError
            If another holds it for longer.
        OSError
            If the system has no such locks, or does not let the file be written.
        """
        if not HAS_LOCKS:
            raise OSError(
                f"{file_name(self._target)}: saved indexes are written on systems with fcntl.flock only; read it here, "
                "and write it on Linux or macOS."
            )
        deadline = time.monotonic() + timeout
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            while not try_lock(descriptor, is_shared=False):
                # Readers hold the lock together with others, and only for an instant.
                is_writer = not try_lock(descriptor, is_shared=True)
                if not is_writer:
                    unlock(descriptor)
                elif time.monotonic() >= deadline:
                    raise LockedFileError(
                        f"{file_name(self._target)}: is being written by {_holder(descriptor)}, which holds "
                        f"{file_name(self._path)}; close that writer, or wait with a longer timeout than {timeout} s."
                    )
                time.sleep(_SECONDS_BETWEEN_TRIES)
            # Who holds it is for messages only, so a full disk is no reason to stop.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor, self._close = descriptor, weakref.finalize(self, os.close, descriptor)
        _held.add(self)

    def release(self):
        """Give the lock back, if it is held."""
        if self._descriptor is not None:
            # Closing the file would not be enough if another thread has just forked.
            unlock(self._descriptor)
            self.abandon()

    def abandon(self):
        """Leave the lock to the process that this one was forked from."""
        _held.discard(self)
        self._descriptor = None
        self._close()


@contextlib.contextmanager
def no_writer(path):
    """Keep writers away for an instant, if there is none now.

    Parameters
    ----------
    path : str
        Where the lock of writers lies.

    Yields
    ------
    is_free : bool
        Whether nobody writes, nor will before this block is left; False also where that cannot be known.
    """
    if not HAS_LOCKS:
        # Nobody can write.
        yield True
        return
    try:
        # Opening a pipe of this name must not wait for somebody who writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        # A file that is written has a lock beside it, unless somebody took the file away without it.
        yield True
        return
    except PermissionError:
        yield False
        return
    try:
        yield try_lock(descriptor, is_shared=True)
    finally:
        unlock(descriptor)
        os.close(descriptor)


def _holder(descriptor):
    text = os.pread(descriptor, 20, 0).decode("ascii", errors="replace").strip()
    return f"process {text}" if text.isdigit() else "another process"


def _leave_to_parent():
    # A lock lasts until all processes closed the file that they share, so a child would keep it from the next writer.
    for lock in list(_held):
        lock.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
