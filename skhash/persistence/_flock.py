"""Locks of the system on open files, which it frees when all processes that have the file open closed it or ended."""

from importlib.util import find_spec

HAS_LOCKS = find_spec("fcntl") is not None


def try_lock(descriptor, *, is_shared):
    """Lock an open file, unless another holds it; threads that opened it by themselves are others, too.

    Parameters
    ----------
    descriptor : int
        Of the file.

    is_shared : bool
        Whether others may have the same lock meanwhile.

    Returns
    -------
    is_locked : bool
        False if another holds it.

    Raises
    ------
    OSError
        If the file system has no such locks.
    """
    import fcntl

    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(descriptor):
    """Give a lock back, also where another process has inherited the open file."""
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_UN)
