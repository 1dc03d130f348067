"""Images to float vectors."""

from .._images import UnreadableImage, find_unreadable_images
from ._cnn import CNNFeatures
from ._pixels import PixelFeatures

__all__ = ["CNNFeatures", "PixelFeatures", "UnreadableImage", "find_unreadable_images"]
