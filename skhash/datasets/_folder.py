"""Photographs sorted into one subfolder per class."""

import os
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from .._sklearn import validate_params

_IMAGE_EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# Written by file managers beside every folder of photographs. Names with a leading dot are hidden everywhere.
_JUNK_NAMES = {"desktop.ini", "thumbs.db"}


@validate_params(
    {
        "container_path": [str, os.PathLike],
        "extensions": [list, tuple, set, frozenset],
        "return_X_y": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def load_image_folder(
    container_path: str | os.PathLike,
    *,
    extensions: tuple[str, ...] = _IMAGE_EXTENSIONS,
    return_X_y: bool = False,
) -> Bunch | tuple[NDArray[np.object_], NDArray[np.int64]]:
    """List the images of a folder that holds one subfolder per class.

    The images are not decoded here: the paths go into `CNNFeatures` or `PixelFeatures` like any other images.
    A class consists of everything below its subfolder, at any depth. Classes and files are sorted by name, so
    the result does not depend on the file system.

    Parameters
    ----------
    container_path : str or path-like
        Folder that holds the subfolders.

    extensions : sequence of str, default=(".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
        File name extensions of images, with the dot, in upper or lower case.

    return_X_y : bool, default=False
        Whether ``(images, target)`` is returned instead of a Bunch.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch`
        With the attributes

        images : ndarray of shape (n_images,), dtype object
            Path of each image as str, `container_path` included.
        target : ndarray of shape (n_images,), dtype int64
            Class of each image, a position in `target_names`.
        target_names : list of str
            Names of the subfolders, sorted.
        filenames : ndarray of shape (n_images,), dtype object
            Path of each image relative to `container_path`, with forward slashes: a name that stays the same
            when the folder moves.
        ignored : list of str
            Relative paths of the files that were left out: of another extension, or outside the subfolders.
            Folders that are symbolic links inside a class are not followed and listed here, too.

    (images, target) : tuple if ``return_X_y=True``
        The first two of these.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    NotADirectoryError
        If `container_path` is a file.
    OSError
        If a folder cannot be read.
    ValueError
        If there are no subfolders, a subfolder holds no image, or `extensions` is empty or holds anything but
        extensions with a leading dot.

    Warns
    -----
    UserWarning
        If files were left out. Hidden files, whose names start with a dot, and the files ``Thumbs.db`` and
        ``desktop.ini`` do not count.

    See Also
    --------
    fetch_cifar10 : A labeled dataset to try things on.
    retrieval_split : Draws queries, training images and a database.

    Notes
    -----
    Photographs without classes need no loader: ``sorted(Path(folder).rglob("*.jpg"))`` is a list of images
    already.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skhash.datasets import load_image_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ["cat/1.jpg", "cat/2.JPG", "dog/1.png"]:
    ...         path = Path(folder) / name
    ...         path.parent.mkdir(exist_ok=True)
    ...         path.touch()
    ...     pets = load_image_folder(folder)
    >>> pets.filenames
    array(['cat/1.jpg', 'cat/2.JPG', 'dog/1.png'], dtype=object)
    >>> pets.target, pets.target_names
    (array([0, 0, 1]), ['cat', 'dog'])
    """
    container = Path(container_path)
    extensions = _check_extensions(extensions)
    target_names = _class_names(container)
    filenames, labels = [], []
    ignored = [entry.name for entry in container.iterdir() if not entry.is_dir() and not _is_junk(entry.name)]
    for label, name in enumerate(target_names):
        images, others = _list_class(container, name, extensions)
        filenames += images
        labels += [label] * len(images)
        ignored += others
    _warn_if_ignored(ignored, n_images=len(filenames), container=container)
    images = _as_objects([str(container / filename) for filename in filenames])
    target = np.array(labels, dtype=np.int64)
    if return_X_y:
        return images, target
    return Bunch(
        images=images,
        target=target,
        target_names=target_names,
        filenames=_as_objects(filenames),
        ignored=sorted(ignored),
    )


def _check_extensions(extensions):
    wrong = [extension for extension in extensions if not _is_extension(extension)]
    if wrong or not extensions:
        raise ValueError(
            f"load_image_folder: extensions={extensions!r} must hold strings like '.jpg', at least one"
            + (f"; got {wrong[0]!r}." if wrong else ".")
        )
    return {extension.lower() for extension in extensions}


def _is_extension(extension):
    return isinstance(extension, str) and len(extension) > 1 and extension.startswith(".")


def _is_junk(name):
    return name.startswith(".") or name.lower() in _JUNK_NAMES


def _class_names(container):
    """Return the sorted names of the subfolders."""
    if not container.exists():
        raise FileNotFoundError(f"load_image_folder: there is no folder {str(container)!r}.")
    if not container.is_dir():
        raise NotADirectoryError(
            f"load_image_folder: {str(container)!r} is a file; give the folder that holds the classes."
        )
    names = sorted(entry.name for entry in container.iterdir() if entry.is_dir() and not _is_junk(entry.name))
    if not names:
        raise ValueError(
            f"load_image_folder: {str(container)!r} has no subfolders; sort the images into one subfolder "
            "per class, or use them without classes as sorted(Path(folder).rglob('*.jpg'))."
        )
    return names


def _list_class(container, name, extensions):
    """Return the sorted images below a class folder, and what was left out, relative to the container."""
    images, others = [], []
    for folder, subfolders, files in os.walk(container / name, onerror=_raise):
        subfolders[:] = [subfolder for subfolder in subfolders if not _is_junk(subfolder)]
        links = [subfolder for subfolder in subfolders if os.path.islink(os.path.join(folder, subfolder))]
        for file in files + links:
            path = Path(folder, file).relative_to(container)
            if _is_junk(file):
                continue
            is_image = file not in links and path.suffix.lower() in extensions
            (images if is_image else others).append(path.as_posix())
    if not images:
        found = f"holds only files like {min(others)!r}" if others else "is empty"
        raise ValueError(
            f"load_image_folder: class folder {str(container / name)!r} {found}; put images with "
            f"an extension of {sorted(extensions)} there, name theirs in `extensions`, or remove the folder."
        )
    return sorted(images), others


def _raise(error):
    raise error


def _warn_if_ignored(ignored, *, n_images, container):
    if ignored:
        warnings.warn(
            f"load_image_folder: left out {len(ignored)} of {len(ignored) + n_images} files in "
            f"{str(container)!r}, first {min(ignored)!r}: no image extension, or outside the class folders; "
            "all are listed in `ignored`.",
            UserWarning,
            stacklevel=4,  # past this function, load_image_folder and the wrapper of validate_params
        )


def _as_objects(strings):
    array = np.empty(len(strings), dtype=object)
    array[:] = strings
    return array
