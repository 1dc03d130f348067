"""An on-disk cache of feature vectors, one small file an image.

The file of an image lies at `directory/network/ab/cdef...`, where `network` is a digest of everything besides the
image that decides its features, and `abcdef...` the digest of the image. It holds, in this order:

- 8 bytes: the magic number `SKHFEAT1`,
- 4 bytes: the number of features, little-endian,
- the features, little-endian float32,
- 16 bytes: the BLAKE2b digest of the name of the entry and of everything before.

A file is complete from the moment it appears, because it is written beside and then renamed. Every reader checks the
length and the digest, so a damaged, truncated, foreign or moved file counts as absent and is written anew. Nothing in
it is ever executed.
"""

import contextlib
import hashlib
import os
import struct
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .._images import decode_image, image_path, open_regular_file

_MAGIC = b"SKHFEAT1"
_HEADER = struct.Struct("<8sI")
_CHECKSUM_SIZE = 16


def text_digest(*parts: str) -> str:
    """Digest several strings, so that no two different lists of strings collide.

    Parameters
    ----------
    *parts : str
        Any strings.

    Returns
    -------
    digest : str
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def image_digest(item: Any, *, name: str) -> str:
    """Digest one image: the bytes of a file, or the shape and the pixels of an image in memory.

    Parameters
    ----------
    item : str, os.PathLike, PIL image or ndarray
        One image that passed `check_images`.

    name : str
        Who asks, for the message about a missing Pillow.

    Returns
    -------
    digest : str
        40 hexadecimal digits.

    Raises
    ------
    ImageReadError
        If a file cannot be opened or a PIL image cannot be decoded.
    """
    if image_path(item) is not None:
        with open_regular_file(item) as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(b"file", digest_size=20)).hexdigest()
    pixels = item if isinstance(item, np.ndarray) else decode_image(item, color="rgb", name=name)
    digest = hashlib.blake2b(f"pixels {pixels.shape}".encode(), digest_size=20)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


class FeatureCache:
    """Feature vectors of one network on disk, safe for concurrent readers and writers.

    Parameters
    ----------
    directory : str or os.PathLike
        Folder of the cache; created where it does not exist.

    network : str
        Digest of everything besides the image that decides its features.

    n_features : int
        Length of a feature vector.

    Raises
    ------
    OSError
        If the folder cannot be created.
    """

    def __init__(self, directory, network: str, n_features: int):
        self._folder = Path(directory) / network
        self._n_features = n_features
        self._size = _HEADER.size + 4 * n_features + _CHECKSUM_SIZE
        self._may_write = True
        self._folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> np.ndarray | None:
        """Return the features of an image.

        Parameters
        ----------
        key : str
            Digest of the image.

        Returns
        -------
        features : ndarray of shape (n_features,) or None
            float32 features; None where there is no entry, or none that is intact.
        """
        try:
            with open(self._path(key), "rb") as file:
                data = file.read(self._size + 1)
        except OSError:
            return None
        if len(data) != self._size or data != self._encode(key, data[_HEADER.size : -_CHECKSUM_SIZE]):
            return None
        return np.frombuffer(data, dtype="<f4", count=self._n_features, offset=_HEADER.size).astype(np.float32)

    def put(self, key: str, features: np.ndarray) -> None:
        """Store the features of an image.

        A full or unwritable disk costs a warning and the rest of this cache's writes, not the features.

        Parameters
        ----------
        key : str
            Digest of the image.

        features : ndarray of shape (n_features,)
            Its features.
        """
        if not self._may_write:
            return
        path = self._path(key)
        try:
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, self._encode(key, features.astype("<f4").tobytes()))
        except OSError as error:
            self._may_write = False
            warnings.warn(
                f"the feature cache {str(self._folder)!r} cannot be written ({error}): features are computed but "
                "not stored; free some space or pass another cache_dir.",
                UserWarning,
                stacklevel=4,
            )

    def _path(self, key):
        return self._folder / key[:2] / key[2:]

    def _encode(self, key, payload):
        body = _HEADER.pack(_MAGIC, self._n_features) + payload
        checksum = hashlib.blake2b(key.encode() + body, digest_size=_CHECKSUM_SIZE).digest()
        return body + checksum


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that readers see all of it or nothing.

    Parameters
    ----------
    path : Path
        The file; replaced where it exists.

    data : bytes
        Its content.

    Raises
    ------
    OSError
        If the file cannot be written; no partial file is left behind.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
