"""Learning to hash with the scikit-learn API.

Images become features (:mod:`skhash.features`), features become short binary codes (:mod:`skhash.hashers`), codes are
searched by Hamming distance (:mod:`skhash.neighbors`), and the ranking is scored (:mod:`skhash.metrics`).
"""

from typing import TYPE_CHECKING

from .features import CNNFeatures, PixelFeatures
from .hashers import (
    CCAITQ,
    ITQ,
    LSH,
    PCAH,
    AnchorGraphHash,
    CirculantHash,
    ColumnSampledHash,
    DiscriminantITQ,
    InductiveManifoldHash,
    IsotropicHash,
    KernelSupervisedHash,
    KMeansHash,
    LDAHash,
    MutualInformationHash,
    NestedHash,
    OnlineHadamardHash,
    ShiftInvariantKernelLSH,
    SketchingHash,
    SpectralHash,
    SphericalHash,
    SupervisedDiscreteHash,
)
from .neighbors import HammingNearestNeighbors, HammingNearestNeighborsTransformer
from .pipeline import RetrievalPipeline

if TYPE_CHECKING:
    from .deep import DeepSupervisedHasher, DeepUnsupervisedHasher
    from .persistence import load, save

__version__ = "0.1.0"

__all__ = [
    "CCAITQ",
    "ITQ",
    "LSH",
    "PCAH",
    "AnchorGraphHash",
    "CNNFeatures",
    "CirculantHash",
    "ColumnSampledHash",
    "DeepSupervisedHasher",
    "DeepUnsupervisedHasher",
    "DiscriminantITQ",
    "HammingNearestNeighbors",
    "HammingNearestNeighborsTransformer",
    "InductiveManifoldHash",
    "IsotropicHash",
    "KMeansHash",
    "KernelSupervisedHash",
    "LDAHash",
    "MutualInformationHash",
    "NestedHash",
    "OnlineHadamardHash",
    "PixelFeatures",
    "RetrievalPipeline",
    "ShiftInvariantKernelLSH",
    "SketchingHash",
    "SpectralHash",
    "SphericalHash",
    "SupervisedDiscreteHash",
    "load",
    "save",
]


def __getattr__(name):
    """Load the deep hashers, and what reads and writes files, on first use."""
    if name in ("DeepSupervisedHasher", "DeepUnsupervisedHasher"):
        from . import deep

        return getattr(deep, name)
    if name in ("load", "save"):
        from . import persistence

        return getattr(persistence, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
