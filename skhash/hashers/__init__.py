"""Hashers: features to packed binary codes, without torch. One paper, one file, one class."""

from ._itq import ITQ
from ._lsh import LSH
from ._mutual_information import MutualInformationHash
from ._online_hadamard import OnlineHadamardHash
from ._pcah import PCAH
from ._sketching import SketchingHash
from ._spectral import SpectralHash

__all__ = ["ITQ", "LSH", "PCAH", "MutualInformationHash", "OnlineHadamardHash", "SketchingHash", "SpectralHash"]
