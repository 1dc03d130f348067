"""Which kind of rows the caller passed: features or images."""

import os

import numpy as np

from .._images import is_pil_image


def holds_images(X):
    """Tell images from features, without looking at more than the first.

    Parameters
    ----------
    X : object
        What the caller passed.

    Returns
    -------
    images : bool
        True for arrays of uint8 with 3 or 4 dimensions, and for containers of paths, PIL images or arrays of images.
    """
    if isinstance(X, str | os.PathLike):
        return True
    if isinstance(X, np.ndarray) and X.dtype.kind not in "OUT":
        return X.ndim in (3, 4) and X.dtype == np.uint8
    if getattr(X, "ndim", 1) != 1 or not hasattr(X, "__len__") or not hasattr(X, "__iter__"):
        return False
    first = next(iter(X), None)
    is_array = isinstance(first, np.ndarray) and first.ndim in (2, 3)
    return is_array or isinstance(first, str | os.PathLike) or is_pil_image(first)


def describe_rows(X):
    """Name the type and the shape of what the caller passed.

    Parameters
    ----------
    X : object
        What the caller passed.

    Returns
    -------
    description : str
        For a message.
    """
    shape = f" of shape {X.shape}" if hasattr(X, "shape") else f" of {len(X)}" if hasattr(X, "__len__") else ""
    return f"{type(X).__name__}{shape}"
