"""Hashers: features to packed binary codes, without torch. One paper, one file, one class."""

from ._anchor_graph import AnchorGraphHash
from ._cca_itq import CCAITQ
from ._circulant import CirculantHash
from ._cosdish import ColumnSampledHash
from ._discriminant_itq import DiscriminantITQ
from ._inductive_manifold import InductiveManifoldHash
from ._isotropic import IsotropicHash
from ._itq import ITQ
from ._kmeans import KMeansHash
from ._ksh import KernelSupervisedHash
from ._lda_hash import LDAHash
from ._lsh import LSH
from ._mutual_information import MutualInformationHash
from ._nested import NestedHash
from ._online_hadamard import OnlineHadamardHash
from ._pcah import PCAH
from ._sdh import SupervisedDiscreteHash
from ._shift_invariant import ShiftInvariantKernelLSH
from ._sketching import SketchingHash
from ._spectral import SpectralHash
from ._spherical import SphericalHash

__all__ = [
    "CCAITQ",
    "ITQ",
    "LSH",
    "PCAH",
    "AnchorGraphHash",
    "CirculantHash",
    "ColumnSampledHash",
    "DiscriminantITQ",
    "InductiveManifoldHash",
    "IsotropicHash",
    "KMeansHash",
    "KernelSupervisedHash",
    "LDAHash",
    "MutualInformationHash",
    "NestedHash",
    "OnlineHadamardHash",
    "ShiftInvariantKernelLSH",
    "SketchingHash",
    "SpectralHash",
    "SphericalHash",
    "SupervisedDiscreteHash",
]
