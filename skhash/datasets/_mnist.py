"""MNIST and Fashion-MNIST from the four IDX files that each is published in."""

import gzip
import os
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from .._sklearn import validate_params
from ._fetch import FETCH_CONSTRAINTS, RemoteFile, as_dataset, data_folder, fetch_file, subset_parts

_IMAGES_PER_PART = {"train": 60_000, "test": 10_000}
_SIDE = 28
_UINT8_TYPE_CODE = 0x08


@dataclass(frozen=True)
class _IDXDataset:
    """A dataset published as one file of images and one of labels for each part."""

    folder: str
    images: dict
    labels: dict
    target_names: tuple
    description: str


def _remote_files(base_url, **sha256):
    """Describe the files of the two parts, which bear the same names in both datasets."""
    stems = {
        "train_images": "train-images-idx3-ubyte.gz",
        "train_labels": "train-labels-idx1-ubyte.gz",
        "test_images": "t10k-images-idx3-ubyte.gz",
        "test_labels": "t10k-labels-idx1-ubyte.gz",
    }
    files = {key: RemoteFile(name, base_url + name, sha256[key]) for key, name in stems.items()}
    return {
        "images": {"train": files["train_images"], "test": files["test_images"]},
        "labels": {"train": files["train_labels"], "test": files["test_labels"]},
    }


_MNIST = _IDXDataset(
    folder="mnist",
    **_remote_files(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        train_images="440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        train_labels="3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        test_images="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        test_labels="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    target_names=tuple("0123456789"),
    description="""MNIST: 70000 gray images of 28 x 28 pixels of handwritten digits.

The first 60000 are the published training set, the last 10000 the published test set.
Source: http://yann.lecun.com/exdb/mnist/, fetched from a mirror that holds the same files.
Reference: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE, 1998.
""",
)
_FASHION_MNIST = _IDXDataset(
    folder="fashion_mnist",
    **_remote_files(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        train_images="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        train_labels="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        test_images="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        test_labels="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    target_names=(
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    description="""Fashion-MNIST: 70000 gray images of 28 x 28 pixels of clothes in 10 classes of 7000 each.

The first 60000 are the published training set, the last 10000 the published test set.
Source: https://github.com/zalandoresearch/fashion-mnist.
Reference: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
algorithms", arXiv:1708.07747, 2017.
""",
)  # fmt: skip


@validate_params(FETCH_CONSTRAINTS, prefer_skip_nested_validation=True)
def fetch_mnist(
    *,
    data_home: str | os.PathLike | None = None,
    subset: str = "all",
    download_if_missing: bool = True,
    return_X_y: bool = False,
    verbose: bool = True,
) -> Bunch | tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Load the MNIST handwritten digits, downloading them at the first call.

    =================   =================
    Classes                            10
    Images              60000 + 10000
    Shape                    28 x 28
    Download                        12 MB
    =================   =================

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder in which datasets are kept; the files lie in its subfolder ``mnist``. By default the
        environment variable ``SKHASH_DATA``, or ``~/.cache/skhash`` where that is not set.

    subset : {"all", "train", "test"}, default="all"
        Published part to load; "all" is the training set followed by the test set.

    download_if_missing : bool, default=True
        Whether files that are not in the folder are downloaded; otherwise that is an error.

    return_X_y : bool, default=False
        Whether ``(images, target)`` is returned instead of a Bunch.

    verbose : bool, default=True
        Whether the download shows a progress bar. Pooch logs one line a file in either case.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch`
        With the attributes

        images : ndarray of shape (n_images, 28, 28), dtype uint8
            Pixels, white strokes on black.
        target : ndarray of shape (n_images,), dtype int64
            The digit.
        target_names : list of str
            The digits as text.
        DESCR : str
            What the dataset is and where it comes from.

    (images, target) : tuple if ``return_X_y=True``
        The first two of these.

    Raises
    ------
    ImportError
        If a download is needed and pooch is not installed.
    OSError
        If a file is missing and could not be downloaded, or its SHA-256 is wrong.
    ValueError
        If a file cannot be read, or a parameter has another type or value than described.

    See Also
    --------
    fetch_fashion_mnist : Clothes instead of digits, in the same format and less easy.

    References
    ----------
    .. [1] Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
       recognition", Proceedings of the IEEE, 86(11), 1998.

    Examples
    --------
    >>> from skhash.datasets import fetch_mnist
    >>> images, target = fetch_mnist(subset="test", return_X_y=True)  # doctest: +SKIP
    >>> images.shape  # doctest: +SKIP
    (10000, 28, 28)
    """
    return _fetch(
        _MNIST,
        caller="fetch_mnist",
        data_home=data_home,
        subset=subset,
        download_if_missing=download_if_missing,
        return_X_y=return_X_y,
        verbose=verbose,
    )


@validate_params(FETCH_CONSTRAINTS, prefer_skip_nested_validation=True)
def fetch_fashion_mnist(
    *,
    data_home: str | os.PathLike | None = None,
    subset: str = "all",
    download_if_missing: bool = True,
    return_X_y: bool = False,
    verbose: bool = True,
) -> Bunch | tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Load the Fashion-MNIST images of clothes, downloading them at the first call.

    =================   =================
    Classes                            10
    Images per class                 7000
    Images              60000 + 10000
    Shape                    28 x 28
    Download                        31 MB
    =================   =================

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder in which datasets are kept; the files lie in its subfolder ``fashion_mnist``. By default the
        environment variable ``SKHASH_DATA``, or ``~/.cache/skhash`` where that is not set.

    subset : {"all", "train", "test"}, default="all"
        Published part to load; "all" is the training set followed by the test set.

    download_if_missing : bool, default=True
        Whether files that are not in the folder are downloaded; otherwise that is an error.

    return_X_y : bool, default=False
        Whether ``(images, target)`` is returned instead of a Bunch.

    verbose : bool, default=True
        Whether the download shows a progress bar. Pooch logs one line a file in either case.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch`
        With the attributes

        images : ndarray of shape (n_images, 28, 28), dtype uint8
            Pixels, bright clothes on black.
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
        If a file is missing and could not be downloaded, or its SHA-256 is wrong.
    ValueError
        If a file cannot be read, or a parameter has another type or value than described.

    See Also
    --------
    fetch_mnist : Handwritten digits in the same format.

    References
    ----------
    .. [1] H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine
       learning algorithms", arXiv:1708.07747, 2017.

    Examples
    --------
    >>> from skhash.datasets import fetch_fashion_mnist
    >>> fashion_mnist = fetch_fashion_mnist(subset="test")  # doctest: +SKIP
    >>> fashion_mnist.target_names[:3]  # doctest: +SKIP
    ['T-shirt/top', 'Trouser', 'Pullover']
    """
    return _fetch(
        _FASHION_MNIST,
        caller="fetch_fashion_mnist",
        data_home=data_home,
        subset=subset,
        download_if_missing=download_if_missing,
        return_X_y=return_X_y,
        verbose=verbose,
    )


def _fetch(dataset, *, caller, data_home, subset, download_if_missing, return_X_y, verbose):
    folder = data_folder(data_home, dataset.folder)

    def read(remote, shape):
        path = fetch_file(remote, folder, caller=caller, download_if_missing=download_if_missing, verbose=verbose)
        return _read_idx(path, shape, caller)

    images, labels = [], []
    for part in subset_parts(subset):
        n_images = _IMAGES_PER_PART[part]
        images.append(read(dataset.images[part], (n_images, _SIDE, _SIDE)))
        labels.append(read(dataset.labels[part], (n_images,)))
    return as_dataset(
        np.concatenate(images),
        np.concatenate(labels).astype(np.int64),
        target_names=dataset.target_names,
        description=dataset.description,
        return_X_y=return_X_y,
        caller=caller,
    )


def _read_idx(path, shape, caller):
    """Read a gzipped IDX file of bytes: two zeros, type, number of axes, their big-endian lengths, values.

    No more is read than the expected shape holds, whatever the header claims.
    """
    header = struct.pack(f">HBB{len(shape)}I", 0, _UINT8_TYPE_CODE, len(shape), *shape)
    n_values = int(np.prod(shape))
    try:
        with gzip.open(path) as file:
            found_header, values = file.read(len(header)), file.read(n_values + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{caller}: {path} is truncated or no gzip file ({error}); delete it.") from error
    if found_header != header:
        raise ValueError(
            f"{caller}: {path} is no IDX file of bytes of shape {shape}: it starts with "
            f"{found_header.hex()!r}, expected {header.hex()!r}; delete it and call again."
        )
    if len(values) != n_values:
        relation = "fewer" if len(values) < n_values else "more"
        raise ValueError(f"{caller}: {path} holds {relation} than {n_values} values; delete it and call again.")
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)
