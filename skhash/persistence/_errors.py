"""What is wrong with a file."""

__all__ = ["CorruptFileError", "FileFormatError", "LockedFileError", "UnsupportedVersionError"]


class FileFormatError(ValueError):
    """A file is no file of this package, or holds what must not be loaded.

    The message is one line that names the file, what was found and what to do.
    """


class CorruptFileError(FileFormatError):
    """A file was cut off or altered: its lengths or checksums do not fit."""


class UnsupportedVersionError(FileFormatError):
    """A file was written in a format that is newer than this version of the package reads."""


class LockedFileError(OSError):
    """A file is being written by somebody else, whose lock the message names."""
