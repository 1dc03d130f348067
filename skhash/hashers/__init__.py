"""Hashers: features to packed binary codes, without torch. One paper, one file, one class."""

from ._cosdish import ColumnSampledHash
from ._itq import ITQ
from ._ksh import KernelSupervisedHash
from ._lsh import LSH
from ._pcah import PCAH
from ._sdh import SupervisedDiscreteHash
from ._spectral import SpectralHash

__all__ = ["ITQ", "LSH", "PCAH", "ColumnSampledHash", "KernelSupervisedHash", "SpectralHash", "SupervisedDiscreteHash"]
