"""Learning to hash with the scikit-learn API."""

from .hashers import ITQ, LSH, PCAH, SpectralHash

__version__ = "0.1.0"

__all__ = ["ITQ", "LSH", "PCAH", "SpectralHash"]
