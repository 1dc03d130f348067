"""Files that estimators are kept in: written as a whole, checked before they are believed, and never run."""

from ._errors import CorruptFileError, FileFormatError, LockedFileError, UnsupportedVersionError
from ._growing import SavedIndex
from ._inspection import inspect, model_card
from ._saving import load, save

__all__ = [
    "CorruptFileError",
    "FileFormatError",
    "LockedFileError",
    "SavedIndex",
    "UnsupportedVersionError",
    "inspect",
    "load",
    "model_card",
    "save",
]
