"""Cumulative gains, against scikit-learn and the enumeration of all orders of tied items."""

from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import ndcg_score

from skhash.codes import hamming_distances
from skhash.metrics import acg_at_k, ndcg_at_k


@pytest.mark.parametrize("k", [1, 5, 30, 60, None])
@pytest.mark.parametrize("multilabel", [False, True])
def test_ndcg_equals_scikit_learn_given_exponential_gains(k, multilabel):
    """scikit-learn averages gains over ties too, and takes its gains as they are."""
    rng = np.random.default_rng(0)
    query_codes, database_codes = rng.integers(0, 256, (2, 60, 1), dtype=np.uint8)
    query_codes = query_codes[:12]
    if multilabel:
        query_labels, database_labels = rng.integers(0, 2, (12, 5)), rng.integers(0, 2, (60, 5))
        query_labels[:, 0] = 1
        shared = query_labels @ database_labels.T
    else:
        query_labels, database_labels = rng.integers(0, 3, 12), rng.integers(0, 3, 60)
        shared = (query_labels[:, None] == database_labels).astype(int)
    distances = hamming_distances(query_codes, database_codes)
    wanted = ndcg_score(2.0**shared - 1, -distances, k=k)
    assert ndcg_at_k(query_codes, database_codes, query_labels, database_labels, k=k) == pytest.approx(wanted)


def naive_values(distances, shared, k):
    """NDCG and ACG at k for every order of the items that sorts by distance."""
    orders = [o for o in permutations(range(len(distances))) if (np.diff(np.take(distances, o)) >= 0).all()]

    def dcg(ranking):
        return sum((2**rel - 1) / np.log2(i + 1) for i, rel in enumerate(ranking[:k], start=1))

    ideal = dcg(sorted(shared, reverse=True))
    ndcg = [dcg([shared[i] for i in order]) / ideal for order in orders]
    acg = [sum(shared[i] for i in order[:k]) / k for order in orders]
    return {"expected": np.mean, "best": np.max, "worst": np.min}, ndcg, acg


@pytest.mark.parametrize("ties", ["expected", "best", "worst"])
@pytest.mark.parametrize("k", [1, 2, 3, 5, 6])
def test_equals_enumeration(ties, k):
    database_codes = np.array([[0], [1], [2], [3], [7], [4]], dtype=np.uint8)
    database_labels = np.array([[0, 0, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 0, 0]])
    reduce, ndcg, acg = naive_values([0, 1, 1, 2, 3, 1], (database_labels @ [1, 1, 0]).tolist(), k)
    problem = ([[0]], database_codes, [[1, 1, 0]], database_labels)
    assert ndcg_at_k(*problem, k=k, ties=ties) == pytest.approx(reduce[ties](ndcg))
    assert acg_at_k(*problem, k=k, ties=ties) == pytest.approx(reduce[ties](acg))


@pytest.mark.parametrize("metric", [ndcg_at_k, acg_at_k])
def test_queries_without_relevant_items(metric):
    problem = ([[0], [0]], [[0], [1]], [[0, 0, 1], [1, 1, 0]], [[1, 1, 0], [0, 0, 0]])
    single = metric([[0]], [[0], [1]], [[1, 1, 0]], [[1, 1, 0], [0, 0, 0]], k=1)
    with pytest.warns(UserWarning, match="1 of 2 queries .* count as 0"):
        assert metric(*problem, k=1) == pytest.approx(single / 2)
    score, per_query = metric(*problem, k=1, zero_relevant="skip", return_per_query=True)
    assert score == single
    assert_allclose(per_query, [np.nan, single])
    with pytest.raises(ValueError, match="have no relevant item in the database"):
        metric(*problem, k=1, zero_relevant="error")


def test_limits():
    problem = ([[0]], [[0], [1]], ["a"], ["a", "b"])
    for metric in (ndcg_at_k, acg_at_k):
        with pytest.raises(ValueError, match=f"{metric.__name__}: k=3 must be <= the 2 database items"):
            metric(*problem, k=3)
    with pytest.raises(ValueError, match="acg_at_k: k=None must be an integer >= 1"):
        acg_at_k(*problem, k=None)
    assert ndcg_at_k(*problem, k=None) == 1.0


def test_leave_one_out_takes_each_query_out_of_its_ideal_ranking():
    labels = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 0]])
    codes = np.array([[0], [1], [3]], dtype=np.uint8)
    # Query 0 finds one shared label twice; queries 1 and 2 find item 0 tied with, or after, the other.
    discounts = 1 / np.log2([2, 3])
    wanted = np.array([1.0, discounts.mean() / discounts[0], discounts[1] / discounts[0]])
    assert_allclose(ndcg_at_k(codes, None, labels, return_per_query=True)[1], wanted)
