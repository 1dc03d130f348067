"""CIFAR-10 from the binary archive that its authors publish, read without pickle."""

import os
import tarfile
import zlib

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from .._sklearn import validate_params
from ._fetch import FETCH_CONSTRAINTS, RemoteFile, as_dataset, data_folder, fetch_file, subset_parts

_ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
_BATCHES = {
    "train": tuple(f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("cifar-10-batches-bin/test_batch.bin",),
}
_IMAGES_PER_BATCH = 10_000
_SIDE = 32
_RECORD_BYTES = 1 + 3 * _SIDE * _SIDE
_TARGET_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
)  # fmt: skip
_DESCRIPTION = """CIFAR-10: 60000 color photographs of 32 x 32 pixels in 10 classes of 6000 each.

The first 50000 are the published training set, the last 10000 the published test set.
Source: https://www.cs.toronto.edu/~kriz/cifar.html (binary version).
Reference: A. Krizhevsky, "Learning multiple layers of features from tiny images", technical report, 2009.
"""


@validate_params(FETCH_CONSTRAINTS, prefer_skip_nested_validation=True)
def fetch_cifar10(
    *,
    data_home: str | os.PathLike | None = None,
    subset: str = "all",
    download_if_missing: bool = True,
    return_X_y: bool = False,
    verbose: bool = True,
) -> Bunch | tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Load the CIFAR-10 photographs, downloading them at the first call.

    =================   =================
    Classes                            10
    Images per class                 6000
    Images              50000 + 10000
    Shape                  32 x 32 x 3
    Download                       170 MB
    =================   =================

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder in which datasets are kept; the archive lies in its subfolder ``cifar10``. By default the
        environment variable ``SKHASH_DATA``, or ``~/.cache/skhash`` where that is not set.

    subset : {"all", "train", "test"}, default="all"
        Published part to load; "all" is the training set followed by the test set.

    download_if_missing : bool, default=True
        Whether the archive is downloaded when it is not in the folder; otherwise that is an error.

    return_X_y : bool, default=False
        Whether ``(images, target)`` is returned instead of a Bunch.

    verbose : bool, default=True
        Whether the download shows a progress bar. Pooch logs one line in either case.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch`
        With the attributes

        images : ndarray of shape (n_images, 32, 32, 3), dtype uint8
            Pixels, channels in the order red, green, blue.
        target : ndarray of shape (n_images,), dtype int64
            Class of each image, a position in `target_names`.
        target_names : list of str
            Names of the classes.
        DESCR : str
            What the dataset is and where it comes from.

    (images, target) : tuple if ``return_X_y=True``
        The first two of these.

    Raises
    ------
    ImportError
        If a download is needed and pooch is not installed.
    OSError
        If the archive is missing and could not be downloaded, or its SHA-256 is wrong.
    ValueError
        If the archive cannot be read, or a parameter has another type or value than described.

    See Also
    --------
    retrieval_split : Draws the queries, training images and database of the usual protocol.
    load_image_folder : Loads photographs of your own.

    Notes
    -----
    A download that was interrupted continues at the next call. The archive is kept packed and its checksum is
    compared at every call.

    References
    ----------
    .. [1] A. Krizhevsky, "Learning multiple layers of features from tiny images", technical report,
       University of Toronto, 2009.

    Examples
    --------
    >>> from skhash.datasets import fetch_cifar10
    >>> cifar10 = fetch_cifar10(subset="test")  # doctest: +SKIP
    >>> cifar10.images.shape, cifar10.target_names[3]  # doctest: +SKIP
    ((10000, 32, 32, 3), 'cat')
    """
    path = fetch_file(
        _ARCHIVE,
        data_folder(data_home, "cifar10"),
        caller="fetch_cifar10",
        download_if_missing=download_if_missing,
        verbose=verbose,
    )
    batches = [batch for part in subset_parts(subset) for batch in _BATCHES[part]]
    try:
        images, target = _read_archive(path, batches)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"fetch_cifar10: {path} is truncated or no tar.gz archive ({error}); delete it.") from error
    return as_dataset(
        images,
        target,
        target_names=_TARGET_NAMES,
        description=_DESCRIPTION,
        return_X_y=return_X_y,
        caller="fetch_cifar10",
    )


def _read_archive(path, batches):
    """Read batches, in the given order, in one pass over the archive."""
    n_images = len(batches) * _IMAGES_PER_BATCH
    images = np.empty((n_images, _SIDE, _SIDE, 3), dtype=np.uint8)
    target = np.empty(n_images, dtype=np.int64)
    missing = set(batches)
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            if member.name not in missing:
                continue
            start = batches.index(member.name) * _IMAGES_PER_BATCH
            rows = slice(start, start + _IMAGES_PER_BATCH)
            images[rows], target[rows] = _read_batch(archive, member)
            missing.remove(member.name)
    if missing:
        raise ValueError(f"fetch_cifar10: {path} lacks {min(missing)!r}; delete it and call again.")
    return images, target


def _read_batch(archive, member):
    """Read one batch: records of a label byte and the red, the green and the blue plane of an image."""
    n_bytes = _IMAGES_PER_BATCH * _RECORD_BYTES
    if not member.isfile() or member.size != n_bytes:
        raise ValueError(
            f"fetch_cifar10: {member.name!r} in {archive.name} has {member.size} bytes, expected a file "
            f"of {n_bytes}; delete the archive and call again."
        )
    records = np.frombuffer(archive.extractfile(member).read(), dtype=np.uint8).reshape(-1, _RECORD_BYTES)
    return records[:, 1:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1), records[:, 0]
