"""Neighbours: codes to ids and distances."""

from ._hamming import HammingNearestNeighbors
from ._rerank import rerank_asymmetric, rerank_float, rerank_spherical
from ._spherical import spherical_neighbors
from ._transformer import HammingNearestNeighborsTransformer

__all__ = [
    "HammingNearestNeighbors",
    "HammingNearestNeighborsTransformer",
    "rerank_asymmetric",
    "rerank_float",
    "rerank_spherical",
    "spherical_neighbors",
]
