"""Images to float vectors."""

from ._cnn import CNNFeatures
from ._containers import UnreadableImage
from ._pixels import PixelFeatures
from ._reading import find_unreadable_images

__all__ = ["CNNFeatures", "PixelFeatures", "UnreadableImage", "find_unreadable_images"]
