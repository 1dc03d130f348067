"""Neighbours: codes to ids and distances."""

from ._hamming import HammingNearestNeighbors
from ._transformer import HammingNearestNeighborsTransformer

__all__ = ["HammingNearestNeighbors", "HammingNearestNeighborsTransformer"]
