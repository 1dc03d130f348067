"""Precision and recall at k, against the enumeration of all orders of tied items."""

from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skhash.metrics import precision_at_k, recall_at_k


def naive_hits(distances, relevance, k):
    """Relevant items among the first k, for every order of the items that sorts by distance."""
    orders = [o for o in permutations(range(len(distances))) if (np.diff(np.take(distances, o)) >= 0).all()]
    hits = [sum(relevance[i] for i in order[:k]) for order in orders]
    return {"expected": np.mean(hits), "best": max(hits), "worst": min(hits)}


@pytest.mark.parametrize("ties", ["expected", "best", "worst"])
@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_equals_enumeration(ties, k):
    rng = np.random.default_rng(k)
    database_codes = np.array([0, 1, 2, 3, 7, 4], dtype=np.uint8)[:, None]
    distances = [0, 1, 1, 2, 3, 1]
    # The last class has no items.
    query_labels, database_labels = np.arange(5), rng.integers(0, 4, (6,))
    query_codes = np.zeros((5, 1), dtype=np.uint8)
    hits = np.array([naive_hits(distances, database_labels == label, k)[ties] for label in query_labels])
    totals = np.array([(database_labels == label).sum() for label in query_labels])
    problem = (query_codes, database_codes, query_labels, database_labels)
    zeros = rf"{(totals == 0).sum()} of 5 queries .* count as 0"
    with pytest.warns(UserWarning, match=zeros):
        score, per_query = precision_at_k(*problem, k=k, ties=ties, return_per_query=True)
    assert_allclose(per_query, hits / k, atol=1e-13)
    assert score == pytest.approx((hits / k).mean())
    with pytest.warns(UserWarning, match=zeros):
        score, per_query = recall_at_k(*problem, k=k, ties=ties, return_per_query=True)
    assert_allclose(per_query, hits / np.maximum(totals, 1), atol=1e-13)
    assert score == pytest.approx((hits / np.maximum(totals, 1)).mean())


@pytest.mark.parametrize("metric", [precision_at_k, recall_at_k])
def test_any_shared_label_is_relevant_however_many(metric):
    query_labels, database_labels = [[1, 1, 1, 0]], [[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    database_codes = [[0], [1], [3], [7]]
    scores = [metric([[0]], database_codes, query_labels, database_labels, k=k) for k in (1, 2, 4)]
    assert_allclose(scores, [1, 1, 0.5] if metric is precision_at_k else [0.5, 1, 1])


@pytest.mark.parametrize("metric", [precision_at_k, recall_at_k])
def test_limits(metric):
    problem = ([[0]], [[0], [1]], ["a"], ["b", "b"])
    with pytest.raises(ValueError, match=f"{metric.__name__}: k=3 must be <= the 2 database items"):
        metric(*problem, k=3)
    with pytest.raises(ValueError, match=f"{metric.__name__}: k=None must be an integer >= 1"):
        metric(*problem, k=None)
    for zero_relevant in ("zero", "skip"):
        with pytest.raises(ValueError, match="none of the 1 queries has a relevant item"):
            metric(*problem, k=1, zero_relevant=zero_relevant)


def test_leave_one_out_does_not_count_the_query():
    with pytest.warns(UserWarning, match=r"1 of 3 queries \(first: 1\) have no relevant item"):
        assert precision_at_k([[0], [0], [1]], None, ["a", "b", "a"], k=1) == pytest.approx((0 + 0 + 1 / 2) / 3)
    assert recall_at_k([[0], [1], [3]], None, ["a", "a", "a"], k=2) == 1.0


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint64])
def test_k_in_integers_of_numpy_is_as_good(dtype):
    """Unsigned numbers made indices of floats, small ones overflowed."""
    codes, labels = np.arange(9, dtype=np.uint8)[:, None], np.arange(9) % 2
    for metric in (precision_at_k, recall_at_k):
        assert metric(codes, None, labels, k=dtype(3)) == metric(codes, None, labels, k=3)
