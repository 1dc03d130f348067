"""Inspection: rankings and scores to figures."""

from ._gallery import RetrievalGalleryDisplay
from ._precision_recall import PrecisionRecallDisplay

__all__ = ["PrecisionRecallDisplay", "RetrievalGalleryDisplay"]
