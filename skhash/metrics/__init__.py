"""Retrieval evaluation: rankings to numbers, statistics of codes, scorers."""

from ._code_statistics import code_statistics
from ._graded import acg_at_k, ndcg_at_k
from ._mean_average_precision import average_precision_from_distances, mean_average_precision
from ._radius import precision_recall_by_radius, precision_within_radius
from ._scorer import (
    RetrievalScoringError,
    make_retrieval_scorer,
    mean_average_precision_scorer,
    precision_within_radius_scorer,
)
from ._top_k import precision_at_k, recall_at_k

__all__ = [
    "RetrievalScoringError",
    "acg_at_k",
    "average_precision_from_distances",
    "code_statistics",
    "make_retrieval_scorer",
    "mean_average_precision",
    "mean_average_precision_scorer",
    "ndcg_at_k",
    "precision_at_k",
    "precision_recall_by_radius",
    "precision_within_radius",
    "precision_within_radius_scorer",
    "recall_at_k",
]
