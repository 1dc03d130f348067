"""Neighbours: codes to ids and distances."""

from ._hamming import HammingNearestNeighbors
from ._rerank import rerank_asymmetric, rerank_float
from ._transformer import HammingNearestNeighborsTransformer

__all__ = [
    "HammingNearestNeighbors",
    "HammingNearestNeighborsTransformer",
    "rerank_asymmetric",
    "rerank_float",
]
