"""Images of several kinds to arrays that matplotlib draws."""

import os

import numpy as np

from .._optional import import_optional

# More than the pixels of a gallery's cell at print resolution; a figure keeps the pixels of all its images.
_MAX_SIDE = 512


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

    The EXIF orientation is applied and transparent pixels are laid over white.

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
    Image = import_optional("PIL.Image", extra="plot", feature="RetrievalGalleryDisplay (to read images)")
    if isinstance(item, np.ndarray):
        image = Image.fromarray(_check_array(item, subject))
    elif isinstance(item, Image.Image):
        image = _decode(item, Image, subject)
    elif isinstance(item, str | os.PathLike):
        image = _decode(item, Image, f"{subject} ({os.fspath(item)})")
    else:
        raise TypeError(f"{subject} is of type {type(item).__name__}; pass a uint8 array, a PIL image or a file path.")
    image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    return np.asarray(image)


def _check_array(pixels, subject):
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)) or 0 in pixels.shape:
        raise ValueError(
            f"{subject} has shape {pixels.shape}; an image has shape (height, width), (height, width, 1) "
            "or (height, width, 3)."
        )
    if pixels.dtype != np.uint8:
        raise ValueError(
            f"{subject} has dtype {pixels.dtype}; pass uint8 pixels 0-255, "
            "e.g. (images * (255 / images.max())).round().astype('uint8')."
        )
    return pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def _decode(item, Image, subject):
    try:
        if isinstance(item, Image.Image):
            return _to_eight_bits(item, Image)
        with Image.open(item) as image:
            # Lets JPEG decode a large photograph at a fraction of its size.
            image.draft(None, (2 * _MAX_SIDE, 2 * _MAX_SIDE))
            return _to_eight_bits(image, Image)
    # Pillow's plugins raise whatever their parsers meet in a broken file: OSError, SyntaxError, struct.error and more.
    except Exception as error:
        detail = " ".join(str(error).split())
        raise ValueError(
            f"{subject} cannot be read ({type(error).__name__}: {detail}); replace it or leave it out."
        ) from error


def _to_eight_bits(image, Image):
    """Return a new image of 8-bit gray levels or RGB, upright."""
    image.load()
    # Older releases of Pillow decode 16-bit gray PNG files to mode "I".
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise ValueError(f"pixels of mode {image.mode!r} have no fixed range, scale to 0-255 and save as 8 bits")
    if image.mode.startswith("I"):
        decoded = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
    elif image.has_transparency_data:
        decoded = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    else:
        decoded = image.convert("L" if image.mode in ("1", "L") else "RGB")
    return _turn_upright(decoded, image.getexif().get(0x0112), Image)


def _turn_upright(image, orientation, Image):
    # ImageOps.exif_transpose would also write the EXIF block back, which fails on blocks that can only be read.
    turn = Image.Transpose
    turns = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image
