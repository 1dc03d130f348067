"""Estimators and databases of codes in files that are checked before they are believed, and in formats of others."""

from ._arrow import from_arrow, read_parquet, to_arrow, write_parquet
from ._errors import CorruptFileError, FileFormatError, LockedFileError, UnsupportedVersionError
from ._growing import SavedIndex
from ._inspection import inspect, model_card
from ._numpy_files import read_numpy, write_numpy
from ._onnx import to_onnx
from ._saving import load, save
from ._vector_indexes import from_faiss, from_usearch, to_faiss, to_usearch

__all__ = [
    "CorruptFileError",
    "FileFormatError",
    "LockedFileError",
    "SavedIndex",
    "UnsupportedVersionError",
    "from_arrow",
    "from_faiss",
    "from_usearch",
    "inspect",
    "load",
    "model_card",
    "read_numpy",
    "read_parquet",
    "save",
    "to_arrow",
    "to_faiss",
    "to_onnx",
    "to_usearch",
    "write_numpy",
    "write_parquet",
]
