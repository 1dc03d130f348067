"""Learning to hash with the scikit-learn API.

Images become features (:mod:`skhash.features`), features become short binary codes (:mod:`skhash.hashers`), codes are
searched by Hamming distance (:mod:`skhash.neighbors`), and the ranking is scored (:mod:`skhash.metrics`).
"""

from .features import CNNFeatures, PixelFeatures
from .hashers import ITQ, LSH, PCAH, SpectralHash
from .neighbors import HammingNearestNeighbors, HammingNearestNeighborsTransformer
from .pipeline import RetrievalPipeline

__version__ = "0.1.0"

__all__ = [
    "ITQ",
    "LSH",
    "PCAH",
    "CNNFeatures",
    "HammingNearestNeighbors",
    "HammingNearestNeighborsTransformer",
    "PixelFeatures",
    "RetrievalPipeline",
    "SpectralHash",
]
