"""One image as a uint8 array of a given size and number of channels.

Needs Pillow only where a file, a PIL image or a change of size is met; it never imports torch.
"""

from typing import Any

import numpy as np

from .._optional import import_optional
from ._decoding import decode_image

CHANNELS = {"gray": 1, "rgb": 3}


def read_image(item: Any, *, size: tuple[int, int], color: str, name: str) -> np.ndarray:
    """Decode one image and bring it to a given size.

    The image is squeezed to `size` without keeping its aspect ratio, by Pillow's bicubic filter, which averages when
    it reduces. The EXIF orientation of files and PIL images is applied, transparent pixels are laid over white, of an
    animation the first frame is taken, and 16-bit gray levels are scaled to 8 bits.

    Parameters
    ----------
    item : str, os.PathLike, PIL image or ndarray
        One image that passed `check_images`.

    size : tuple of int
        Wanted height and width in pixels.

    color : {"gray", "rgb"}
        Wanted channels.

    name : str
        Who asks, for the message about a missing Pillow.

    Returns
    -------
    pixels : ndarray of shape (height, width, n_channels)
        The image, uint8.

    Raises
    ------
    ImageReadError
        If the image cannot be decoded.
    """
    if isinstance(item, np.ndarray):
        pixels = item if item.ndim == 3 else item[:, :, np.newaxis]
    else:
        pixels = decode_image(item, size=size, color=color, name=name)
    return _resize(_convert_channels(pixels, color), size, name=name)


def _convert_channels(pixels, color):
    wanted = CHANNELS[color]
    if pixels.shape[2] == wanted:
        return pixels
    if wanted == 3:
        return np.repeat(pixels, 3, axis=2)
    # ITU-R 601-2 luma in Pillow's fixed point, so that files and arrays give the same gray levels.
    luma = pixels.astype(np.uint32) @ np.array([19595, 38470, 7471], dtype=np.uint32)
    return ((luma + 0x8000) >> 16).astype(np.uint8)[:, :, np.newaxis]


def _resize(pixels, size, *, name):
    if pixels.shape[:2] == size:
        return np.ascontiguousarray(pixels)
    Image = import_optional("PIL.Image", extra="images", feature=f"{name} (to resize images)")
    image = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))
    resized = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BICUBIC))
    return resized.reshape(*size, pixels.shape[2])
