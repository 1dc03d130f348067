"""The decoding of one image: opened with care, upright, 8 bits.

Needs Pillow only where a file or a PIL image is met.
"""

import os
import stat
import threading
from typing import Any

import numpy as np

from .._optional import import_optional

# What messages about other dtypes recommend. A factor taken from the batch, such as its maximum, would give the same
# image another code in every batch.
HOW_TO_SCALE = (
    "multiply by a fixed number (255 if pixels run from 0 to 1, 255 / 16 for scikit-learn's digits) and cast with "
    ".round().astype(numpy.uint8)"
)

# EPS hands the file to an external program, which a folder of images from elsewhere must not be able to start.
_REFUSED_FORMATS = {"EPS"}

# Photographs are decoded at a reduced scale, as JPEG allows, but never below this multiple of the wanted size: the
# bicubic reduction then still averages over every pixel, as Pillow's own `reducing_gap` argument recommends.
_REDUCING_GAP = 2

# A PIL image reads its file on first use, and the same object may stand at several positions.
_PIL_IMAGE_LOCK = threading.Lock()


class ImageReadError(ValueError):
    """An image whose content cannot be decoded; the message is the cause in one line."""


def decode_image(item: Any, *, color: str | None, name: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode a file or a PIL image at its own size.

    Parameters
    ----------
    item : str, os.PathLike or PIL image
        One image that is not an array.

    color : {"gray", "rgb"} or None
        Wanted channels; None keeps gray levels as they are and makes RGB of everything else.

    name : str
        Who asks, for the message about a missing Pillow.

    size : tuple of int, default=None
        Height and width that are needed: larger photographs may be decoded at a reduced size, at least twice this.

    Returns
    -------
    pixels : ndarray of shape (height, width, n_channels)
        The image, uint8.

    Raises
    ------
    ImageReadError
        If the image cannot be decoded.
    """
    Image = import_optional("PIL.Image", extra="images", feature=f"{name} (to read images)")
    try:
        if is_pil_image(item):
            with _PIL_IMAGE_LOCK:
                item.load()
            return _to_array(item, color, Image)
        with open_regular_file(item) as file, _open_image(file, Image) as image:
            if size is not None:
                image.draft(None, (_REDUCING_GAP * size[1], _REDUCING_GAP * size[0]))
            return _to_array(image, color, Image)
    except ImageReadError:
        raise
    # Pillow's plugins raise whatever their parsers meet in a broken file: OSError, SyntaxError, struct.error,
    # IndexError, zlib.error and more, so no narrower class covers them.
    except Exception as error:
        detail = " ".join(str(error).split())
        raise ImageReadError(f"corrupt or truncated ({type(error).__name__}: {detail})") from error


def open_regular_file(path: str | os.PathLike):
    """Open a file for reading bytes, if it is a regular file that is not empty.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    file : file object
        The open file.

    Raises
    ------
    ImageReadError
        If it does not exist, is no regular file, is empty or cannot be opened.
    """
    try:
        # A device or a named pipe would be read for ever.
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ImageReadError("not a regular file")
        if status.st_size == 0:
            raise ImageReadError("the file is empty (0 bytes)")
        return open(path, "rb")
    except FileNotFoundError as error:
        raise ImageReadError("the file does not exist") from error
    except (OSError, ValueError) as error:
        if isinstance(error, ImageReadError):
            raise
        raise ImageReadError(f"the file cannot be opened ({' '.join(str(error).split())})") from error


def _open_image(file, Image):
    Image.init()
    formats = [name for name in Image.ID if name not in _REFUSED_FORMATS]
    try:
        image = Image.open(file, formats=formats)
    except Image.UnidentifiedImageError as error:
        raise ImageReadError("not an image in a format that Pillow reads") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageReadError(_bomb_message(f"({error})", Image)) from error
    # Pillow only warns up to twice the limit. Its warning is left alone, because a change of the warning filters
    # would reach every other thread.
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise ImageReadError(_bomb_message(f"({image.width} x {image.height} pixels)", Image))
    return image


def _bomb_message(size, Image):
    return (
        f"a possible decompression bomb {size}, above PIL.Image.MAX_IMAGE_PIXELS = {Image.MAX_IMAGE_PIXELS}; "
        "reduce the image, or raise that limit if the file is trusted"
    )


def _to_array(image, color, Image):
    image.load()
    if 0 in image.size:
        raise ImageReadError(f"no pixels (size {image.width} x {image.height})")
    # Older releases of Pillow decode 16-bit gray PNG files to mode "I".
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise ImageReadError(f"pixels of mode {image.mode!r} have no fixed range; scale to 0-255 and save as 8 bits")
    image = _apply_orientation(image, Image)
    if image.mode.startswith("I"):
        gray = np.asarray(image).astype(np.uint32)
        return ((gray * 255 + 32767) // 65535).astype(np.uint8)[:, :, np.newaxis]
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    is_gray = color == "gray" or (color is None and image.mode in ("1", "L"))
    pixels = np.asarray(image.convert("L" if is_gray else "RGB"))
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def _apply_orientation(image, Image):
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
    orientation = image.getexif().get(0x0112)
    return image.transpose(turns[orientation]) if orientation in turns else image


def is_pil_image(item: Any) -> bool:
    """Tell whether an object is a PIL image, without importing Pillow.

    Parameters
    ----------
    item : object
        Any object.

    Returns
    -------
    is_image : bool
        True for instances of `PIL.Image.Image` and its subclasses.
    """
    return any(base.__module__ == "PIL.Image" and base.__qualname__ == "Image" for base in type(item).__mro__)


def image_path(item: Any) -> str | None:
    """Return the path of an image given as a path.

    Parameters
    ----------
    item : object
        One image.

    Returns
    -------
    path : str or None
        The path; None where the image is an array or a PIL image.
    """
    return os.fspath(item) if isinstance(item, str | os.PathLike) else None
