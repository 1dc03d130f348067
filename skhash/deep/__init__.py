"""Deep hashing: networks trained with torch, behind two estimators."""

from ._supervised import DeepSupervisedHasher
from ._unsupervised import DeepUnsupervisedHasher

__all__ = ["DeepSupervisedHasher", "DeepUnsupervisedHasher"]
