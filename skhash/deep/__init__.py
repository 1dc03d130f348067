"""Deep hashing: networks trained with torch, behind one estimator."""

from ._estimator import DeepSupervisedHasher

__all__ = ["DeepSupervisedHasher"]
