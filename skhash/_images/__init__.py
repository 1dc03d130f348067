"""The reading of images, shared by the rooms that take them: containers, decoding, resizing, worker threads.

Needs Pillow only where a file, a PIL image or a change of size is met; it never imports torch.
"""

from ._containers import UnreadableImage, check_images
from ._decoding import HOW_TO_SCALE, ImageReadError, decode_image, image_path, is_pil_image, open_regular_file
from ._reading import (
    find_unreadable_images,
    finish_skipping,
    image_progress,
    prefetch,
    raise_unreadable,
    read_or_report,
)
from ._resizing import CHANNELS, read_image

__all__ = [
    "CHANNELS",
    "HOW_TO_SCALE",
    "ImageReadError",
    "UnreadableImage",
    "check_images",
    "decode_image",
    "find_unreadable_images",
    "finish_skipping",
    "image_path",
    "image_progress",
    "is_pil_image",
    "open_regular_file",
    "prefetch",
    "raise_unreadable",
    "read_image",
    "read_or_report",
]
