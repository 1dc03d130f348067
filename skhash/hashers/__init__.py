"""Hashers: features to packed binary codes, without torch. One paper, one file, one class."""

from ._itq import ITQ
from ._lsh import LSH
from ._pcah import PCAH
from ._spectral import SpectralHash

__all__ = ["ITQ", "LSH", "PCAH", "SpectralHash"]
