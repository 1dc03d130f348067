"""Hashers: features to packed binary codes, without torch. One paper, one file, one class."""

from ._cca_itq import CCAITQ
from ._discriminant_itq import DiscriminantITQ
from ._itq import ITQ
from ._lda_hash import LDAHash
from ._lsh import LSH
from ._pcah import PCAH
from ._spectral import SpectralHash

__all__ = ["CCAITQ", "ITQ", "LSH", "PCAH", "DiscriminantITQ", "LDAHash", "SpectralHash"]
