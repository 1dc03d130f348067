"""Files are replaced as a whole or not at all, and opened by path, address or as they are."""

import contextlib
import io
import os
import re
import stat

from .._optional import import_optional
from ._temporary import remove_left, temporary_file

# As in "s3://bucket/name"; a Windows drive has one letter.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_address(target):
    """Whether a target is an address that fsspec opens, such as ``"s3://bucket/file.skhash"``."""
    return isinstance(target, str) and _ADDRESS.match(target) is not None


def file_name(target):
    """What to call a file in messages.

    Parameters
    ----------
    target : str, os.PathLike or file object
        The file.

    Returns
    -------
    name : str
        One line.
    """
    if isinstance(target, (str, os.PathLike)):
        name = os.fspath(target)
    else:
        name = getattr(target, "name", None)
        if not isinstance(name, (str, bytes)):
            return f"<{type(target).__name__}>"
    name = os.fsdecode(name)
    # Names of files may hold line breaks, and messages have one line.
    return name if name.isprintable() else ascii(name)


@contextlib.contextmanager
def atomic_writer(path):
    """Write a file under another name in the same folder, and give it its name when it is complete and on the disk.

    Whatever goes wrong meanwhile, the file that had the name before stays as it was, and no other is left behind,
    unless the process is killed. What a killed writer of the same file left is removed first.

    Parameters
    ----------
    path : str or os.PathLike
        The file; a symbolic link is followed. The mode of an existing file is kept.

    Yields
    ------
    file : io.BufferedWriter
        Opened for writing and reading.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    path = os.path.realpath(os.fsdecode(path))
    folder = os.path.dirname(path)
    mode = _mode_of(path)
    remove_left(path)
    with temporary_file(path, mode) as (temporary, descriptor):
        try:
            with open(descriptor, "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if mode is not None:
                # The process' mask may have taken rights away.
                os.chmod(temporary, mode)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    sync_folder(folder)


def _mode_of(path):
    """Mode of an existing file, or None."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{file_name(path)}: is no regular file; pass another name, or a file object opened for writing.")
    return stat.S_IMODE(found.st_mode)


def sync_folder(folder):
    """Wait until the names in a folder are on the disk, where the system can.

    Parameters
    ----------
    folder : str or os.PathLike
        The folder.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder or ".", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def open_for_writing(target):
    """Open a target: a path is replaced as a whole, an address goes through fsspec, a file object is left open.

    Parameters
    ----------
    target : str, os.PathLike or binary file object
        Where to write.

    Yields
    ------
    file : binary file object
        With the method `write`.
    """
    if is_address(target):
        with _fsspec().open(target, "wb") as file:
            yield file
    elif isinstance(target, (str, bytes, os.PathLike)):
        with atomic_writer(target) as file:
            yield file
    elif isinstance(target, io.TextIOBase) or not hasattr(target, "write"):
        raise TypeError(
            f"a file of skhash is written to a path, an address or a file opened with mode 'wb', got "
            f"{type(target).__name__}."
        )
    else:
        yield target


def open_for_reading(source):
    """Open a source.

    Parameters
    ----------
    source : str, os.PathLike or binary file object
        What to read; a file object is read from where it stands.

    Returns
    -------
    file : binary file object
        Can seek.

    is_own : bool
        Whether the caller has to close it.
    """
    if is_address(source):
        return _fsspec().open(source, "rb").open(), True
    if isinstance(source, (str, bytes, os.PathLike)):
        return open(source, "rb"), True
    if isinstance(source, io.TextIOBase) or not hasattr(source, "read"):
        raise TypeError(
            f"a file of skhash is read from a path, an address or a file opened with mode 'rb', got "
            f"{type(source).__name__}."
        )
    if not source.seekable():
        raise TypeError(f"{file_name(source)}: cannot be searched; pass io.BytesIO(file.read()).")
    return source, False


def _fsspec():
    return import_optional("fsspec", extra="remote", feature="skhash.persistence with an address")
