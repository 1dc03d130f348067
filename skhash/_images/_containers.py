"""Containers of images: what is accepted, and what is said about the rest. Decodes nothing and needs only numpy."""

import os
from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np

from .._validation import refuse_masked
from ._decoding import HOW_TO_SCALE, is_pil_image


@dataclass(frozen=True)
class UnreadableImage:
    """One image that could not be read.

    Parameters
    ----------
    index : int
        Position of the image in the input.

    path : str or None
        Path of the file; None where the image was not given as a path.

    message : str
        The cause, in one line.

    See Also
    --------
    find_unreadable_images : Find broken files before a fit.

    Examples
    --------
    >>> from skhash.features import UnreadableImage
    >>> UnreadableImage(index=3, path="cats/3.jpg", message="no such file").path
    'cats/3.jpg'
    """

    index: int
    path: str | None
    message: str


def check_images(X, *, name: str):
    """Check the container and the kind of every image, without decoding any.

    Parameters
    ----------
    X : ndarray or sequence
        An array of images, or a sequence of paths, PIL images and arrays.

    name : str
        Who asks, for the messages.

    Returns
    -------
    images : ndarray or list
        `X` itself where it is an array of images, otherwise a list of its items.

    Raises
    ------
    TypeError
        If `X` or one of its items is of a type that holds no image.

    ValueError
        If `X` is empty, or an array has another dtype than uint8 or a shape that is no image.
    """
    if isinstance(X, str | bytes | os.PathLike):
        raise TypeError(
            f"{name} got the single path {os.fspath(X)!r}: pass a list of image files, "
            "e.g. sorted(pathlib.Path(folder).rglob('*.jpg'))."
        )
    refuse_masked(X, name=name)
    if isinstance(X, np.ndarray) and X.dtype.kind not in "OUT":
        return _check_image_array(X, name=name)
    if getattr(X, "ndim", 1) != 1:
        raise ValueError(
            f"{name} got a container of images with {X.ndim} dimensions: pass one dimension, "
            "e.g. the column frame['path'] of a data frame or array.ravel()."
        )
    if not (hasattr(X, "__len__") and hasattr(X, "__iter__")):
        raise TypeError(
            f"{name} got X of type {type(X).__name__}: pass an array of uint8 images, or a list of file paths, "
            "PIL images or uint8 arrays."
        )
    if isinstance(X, (Mapping, Set)):
        raise TypeError(f"{name} got a {type(X).__name__}, which has no order of its own: pass a list of images.")
    images = list(X)
    if not images:
        raise ValueError(f"{name} got 0 images: pass at least 1.")
    for index, item in enumerate(images):
        _check_item(item, index, name=name)
    return images


def _check_image_array(X, *, name):
    if X.ndim not in (3, 4) or (X.ndim == 4 and X.shape[3] not in (1, 3)):
        hint = ""
        if X.ndim == 4 and X.shape[1] in (1, 3):
            hint = "; move the channels last with X.transpose(0, 2, 3, 1)"
        elif X.ndim == 2:
            hint = "; rows of flat pixels need X.reshape(len(X), height, width)"
        raise ValueError(
            f"{name} got an array of shape {X.shape}: images have shape (n, height, width), (n, height, width, 1) "
            f"or (n, height, width, 3){hint}."
        )
    _check_dtype(X, f"{name} got X", name=name)
    if X.shape[0] == 0:
        raise ValueError(f"{name} got 0 images (an array of shape {X.shape}): pass at least 1.")
    if 0 in X.shape:
        raise ValueError(f"{name} got images without pixels (an array of shape {X.shape}): remove them.")
    return X


def _check_item(item, index, *, name):
    if isinstance(item, str | os.PathLike) or is_pil_image(item):
        return
    if not isinstance(item, np.ndarray):
        raise TypeError(
            f"{name} got image {index} of type {type(item).__name__}: pass a file path (str or os.PathLike), "
            "a PIL image or a uint8 array."
        )
    refuse_masked(item, name=f"{name}: image {index}")
    _check_dtype(item, f"{name} got image {index}", name=name)
    if item.ndim not in (2, 3) or (item.ndim == 3 and item.shape[2] not in (1, 3)):
        raise ValueError(
            f"{name} got image {index} of shape {item.shape}: an image has shape (height, width), "
            "(height, width, 1) or (height, width, 3)."
        )
    if 0 in item.shape:
        raise ValueError(f"{name} got image {index} without pixels (shape {item.shape}): remove it.")


def _check_dtype(array, subject, *, name):
    if array.dtype == np.uint8:
        return
    raise ValueError(f"{subject} of dtype {array.dtype}: {name} takes uint8 pixels 0-255; {HOW_TO_SCALE}.")
