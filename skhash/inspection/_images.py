"""Images of several kinds to arrays that matplotlib draws."""

import os

import numpy as np

from .._images import HOW_TO_SCALE, ImageReadError, decode_image, image_path, is_pil_image
from .._optional import import_optional

# More than the pixels of a gallery's cell at print resolution; a figure keeps the pixels of all its images.
_MAX_SIDE = 512

_OWNER = "RetrievalGalleryDisplay"


def list_images(images, *, name, caller):
    """Return a container of images as a list, without reading any.

    Parameters
    ----------
    images : ndarray or sequence
        Array of images, or arrays, PIL images and paths.

    name : str
        What to call the container in messages.

    caller : str
        Who asks, for the messages.

    Returns
    -------
    images : list
        One item an image.

    Raises
    ------
    TypeError
        If `images` is a single path or no container.

    ValueError
        If there are none.
    """
    if isinstance(images, str | bytes | os.PathLike) or not hasattr(images, "__len__"):
        raise TypeError(f"{caller}: {name} is a single {type(images).__name__}; pass a list or an array of images.")
    if len(images) == 0:
        raise ValueError(f"{caller}: {name} is empty; pass at least 1 image.")
    return list(images)


def read_image(item, *, subject):
    """Read one image at the size of a thumbnail.

    Files and PIL images are decoded, and refused, as the feature extractors do.

    Parameters
    ----------
    item : ndarray of uint8, PIL image, str or os.PathLike
        Gray levels of shape (height, width) or (height, width, 1), RGB of shape (height, width, 3), or a file.

    subject : str
        Beginning of the messages, naming the image.

    Returns
    -------
    pixels : ndarray of shape (height, width) or (height, width, 3), dtype uint8
        Gray levels or RGB, at most 512 pixels a side.

    Raises
    ------
    TypeError
        If `item` is no image.

    ValueError
        If an array has a wrong shape or dtype, or a file cannot be read.
    """
    if isinstance(item, np.ndarray):
        pixels = _check_array(item, subject)
    elif isinstance(item, str | os.PathLike) or is_pil_image(item):
        pixels = _decode(item, subject)
    else:
        raise TypeError(f"{subject} is of type {type(item).__name__}; pass a uint8 array, a PIL image or a file path.")
    pixels = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    Image = import_optional("PIL.Image", extra="plot", feature=f"{_OWNER} (to reduce images)")
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    return np.asarray(image)


def _check_array(pixels, subject):
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)) or 0 in pixels.shape:
        raise ValueError(
            f"{subject} has shape {pixels.shape}; an image has shape (height, width), (height, width, 1) "
            "or (height, width, 3)."
        )
    if pixels.dtype != np.uint8:
        raise ValueError(f"{subject} has dtype {pixels.dtype}; pass uint8 pixels 0-255: {HOW_TO_SCALE}.")
    return pixels


def _decode(item, subject):
    path = image_path(item)
    try:
        return decode_image(item, color=None, name=_OWNER, size=(_MAX_SIDE, _MAX_SIDE))
    except ImageReadError as error:
        which = subject if path is None else f"{subject} ({path})"
        raise ValueError(f"{which} cannot be read: {error}; replace it or leave it out.") from error
