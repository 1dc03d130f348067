"""Average precision on tie groups, against the enumeration of all orders of tied items."""

from contextlib import nullcontext
from fractions import Fraction
from itertools import permutations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.metrics import average_precision_score

from skhash.metrics import average_precision_from_distances
from skhash.metrics._average_precision import average_precision

TIES = ("expected", "best", "worst")
NORMALIZERS = ("min_k_total", "retrieved")


def naive_average_precision(ranking, k, normalizer):
    """Precision at each relevant position of one ranking without ties, by the definition."""
    k = len(ranking) if k is None else k
    hits, total = 0, 0.0
    for position, is_relevant in enumerate(ranking[:k], start=1):
        if is_relevant:
            hits += 1
            total += hits / position
    divisor = hits if normalizer == "retrieved" else min(k, sum(ranking))
    return total / divisor if divisor else 0.0


def all_rankings(distances, relevance):
    """Every order of a ranking that sorts by distance, each as often as permutations of tied items give it."""
    groups = [[r for d, r in zip(distances, relevance, strict=True) if d == value] for value in sorted(set(distances))]
    for orders in product(*(list(permutations(group)) for group in groups)):
        yield [r for order in orders for r in order]


def enumerated(distances, relevance, k, normalizer):
    values = [naive_average_precision(ranking, k, normalizer) for ranking in all_rankings(distances, relevance)]
    return {"expected": np.mean(values), "best": max(values), "worst": min(values)}


def warning_of_zeros(relevance):
    """Expect the warning exactly where a query has no relevant item; elsewhere, pytest makes it an error."""
    n_without = int((~np.atleast_2d(relevance).astype(bool).any(axis=1)).sum())
    n_queries = len(np.atleast_2d(relevance))
    message = rf"average_precision_from_distances: {n_without} of {n_queries} queries .* have no relevant item"
    return pytest.warns(UserWarning, match=message) if n_without else nullcontext()


def compositions(n):
    """All ways to cut n items into tie groups, as distances."""
    for steps in product((0, 1), repeat=n - 1):
        yield np.cumsum((0, *steps)).tolist()


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_equals_enumeration_on_every_ranking_of_five_items(normalizer):
    relevance = np.array(list(product((0, 1), repeat=5)))
    for distances in compositions(5):
        for k in (1, 2, 3, 4, 5, None):
            wanted = [enumerated(distances, row.tolist(), k, normalizer) for row in relevance]
            for ties in TIES:
                with warning_of_zeros(relevance):
                    computed = average_precision_from_distances(
                        np.tile(distances, (len(relevance), 1)), relevance, k=k, ties=ties, normalizer=normalizer
                    )
                assert_allclose(computed, [values[ties] for values in wanted], atol=1e-13)


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_equals_enumeration_on_random_rankings_of_up_to_seven_items(data):
    n_items = data.draw(st.integers(1, 7))
    distances = data.draw(st.lists(st.integers(0, 3), min_size=n_items, max_size=n_items))
    relevance = data.draw(st.lists(st.integers(0, 1), min_size=n_items, max_size=n_items))
    k = data.draw(st.one_of(st.none(), st.integers(1, n_items)))
    normalizer = data.draw(st.sampled_from(NORMALIZERS))
    wanted = enumerated(distances, relevance, k, normalizer)
    for ties in TIES:
        with warning_of_zeros(relevance):
            computed = average_precision_from_distances(distances, relevance, k=k, ties=ties, normalizer=normalizer)
        assert computed == pytest.approx(wanted[ties], abs=1e-13)


def test_hand_computed_vector():
    distances, relevance = [0, 0, 1, 1, 1, 2], [1, 0, 0, 1, 1, 1]
    assert average_precision_from_distances(distances, relevance) == pytest.approx(0.669444, abs=5e-7)
    assert average_precision_from_distances(distances, relevance, ties="best") == pytest.approx(0.770833, abs=5e-7)
    assert average_precision_from_distances(distances, relevance, ties="worst") == pytest.approx(0.566667, abs=5e-7)


def test_normalizers_rank_two_rankings_differently():
    """Dividing by the relevant items found prefers [+, -, -] to [+, -, +]; dividing by min(k, R) does not."""
    values = {
        normalizer: average_precision_from_distances(
            [[0, 1, 2, 3], [0, 1, 2, 3]], [[1, 0, 0, 1], [1, 0, 1, 0]], k=3, normalizer=normalizer
        )
        for normalizer in NORMALIZERS
    }
    assert_allclose(values["retrieved"], [1, (1 + 2 / 3) / 2])
    assert_allclose(values["min_k_total"], [1 / 2, (1 + 2 / 3) / 2])


def test_best_order_of_the_retrieved_normalizer_can_leave_a_relevant_item_out():
    """Found at position 4, the second relevant item gives (1 + 2/4) / 2; left behind the cut, it gives 1."""
    parameters = {"k": 4, "normalizer": "retrieved"}
    distances, relevance = [0, 1, 1, 2, 2, 2], [1, 0, 0, 1, 0, 0]
    assert average_precision_from_distances(distances, relevance, ties="best", **parameters) == 1.0
    assert average_precision_from_distances(distances, relevance, ties="worst", **parameters) == 0.75


def test_without_ties_equals_scikit_learn():
    rng = np.random.default_rng(0)
    distances = rng.permuted(np.tile(np.arange(200), (20, 1)), axis=1).astype(np.float32)
    relevance = rng.random((20, 200)) < 0.2
    wanted = [average_precision_score(relevant, -row) for relevant, row in zip(relevance, distances, strict=True)]
    for ties in TIES:
        assert_allclose(average_precision_from_distances(distances, relevance, ties=ties), wanted, rtol=1e-12)


def test_large_groups_equal_the_sum_written_out():
    """The closed form with harmonic numbers loses no accuracy at the size of a real database."""
    rng = np.random.default_rng(0)
    sizes = np.array([1, 2, 17, 900, 12_000, 30_000, 11_080])
    relevant = rng.binomial(sizes, 0.1)
    total, n0, r0 = 0.0, 0, 0
    for n, k in zip(sizes, relevant, strict=True):
        c = (k - 1) / (n - 1) if n > 1 else 0
        i = np.arange(1, n + 1)
        total += k / n * ((r0 + 1 + (i - 1) * c) / (n0 + i)).sum()
        n0, r0 = n0 + n, r0 + k
    counts = np.array([[sizes - relevant, relevant]])
    assert_allclose(average_precision(counts), total / relevant.sum(), rtol=1e-12)


def test_retrieved_normalizer_equals_exact_rational_arithmetic_on_large_groups():
    n, k, limit, n0, r0 = 400, 150, 300, 40, 11
    t = limit - n0
    counts = np.array([[[n0 - r0, n - k], [r0, k]]])
    before = _exact_sum(n0, r0, n0=0, r0=0)
    wanted = sum(
        Fraction(comb(k, j) * comb(n - k, t - j), comb(n, t)) * (before + _exact_sum(t, j, n0, r0)) / (r0 + j)
        for j in range(max(0, t - (n - k)), min(k, t) + 1)
    )
    computed = average_precision(counts, k=limit, normalizer="retrieved")
    assert_allclose(computed, float(wanted), rtol=1e-12)


def _exact_sum(n, k, n0, r0):
    c = Fraction(k - 1, n - 1) if n > 1 else 0
    return sum(Fraction(k, n) * (r0 + 1 + (i - 1) * c) / (n0 + i) for i in range(1, n + 1))


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("k", [7, 25, None])
def test_expected_equals_monte_carlo(k, normalizer):
    rng = np.random.default_rng(0)
    distances = rng.integers(0, 4, 40)
    relevance = (rng.random(40) < 0.3).astype(int)
    samples = []
    for _ in range(4000):
        shuffled = rng.permutation(40)
        ranking = relevance[shuffled[np.argsort(distances[shuffled], kind="stable")]]
        samples.append(naive_average_precision(ranking.tolist(), k, normalizer))
    computed = average_precision_from_distances(distances, relevance, k=k, normalizer=normalizer)
    assert abs(computed - np.mean(samples)) < 4 * np.std(samples) / np.sqrt(len(samples))


@given(st.data())
@settings(deadline=None, max_examples=100)
def test_bounds_enclose_the_expectation_and_the_order_of_the_database_does_not_matter(data):
    n_items = data.draw(st.integers(1, 60))
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    distances = rng.integers(0, data.draw(st.integers(1, 10)), (3, n_items)).astype(float)
    relevance = rng.random((3, n_items)) < rng.random()
    k = data.draw(st.one_of(st.none(), st.integers(1, n_items)))
    normalizer = data.draw(st.sampled_from(NORMALIZERS))
    order = rng.permutation(n_items)
    values = {}
    for ties in TIES:
        parameters = {"k": k, "ties": ties, "normalizer": normalizer}
        with warning_of_zeros(relevance):
            values[ties] = average_precision_from_distances(distances, relevance, **parameters)
        with warning_of_zeros(relevance):
            shuffled = average_precision_from_distances(distances[:, order], relevance[:, order], **parameters)
        assert_allclose(shuffled, values[ties], atol=1e-12)
    assert (values["worst"] <= values["expected"] + 1e-12).all()
    assert (values["expected"] <= values["best"] + 1e-12).all()
    assert (values["worst"] >= 0).all()
    assert (values["best"] <= 1 + 1e-12).all()


def test_long_batches_of_cut_groups_equal_single_queries(monkeypatch):
    monkeypatch.setattr("skhash.metrics._average_precision._BLOCK_OUTCOMES", 10)
    monkeypatch.setattr("skhash.metrics._mean_average_precision._BLOCK_DISTANCES", 90)
    rng = np.random.default_rng(0)
    distances = rng.integers(0, 3, (25, 30))
    relevance = rng.random((25, 30)) < 0.4
    for ties in TIES:
        together = average_precision_from_distances(distances, relevance, k=12, ties=ties, normalizer="retrieved")
        singly = [
            average_precision_from_distances(row, relevant, k=12, ties=ties, normalizer="retrieved")
            for row, relevant in zip(distances, relevance, strict=True)
        ]
        assert_allclose(together, singly, rtol=1e-13)


def test_one_dimension_gives_a_float_and_two_give_an_array():
    assert isinstance(average_precision_from_distances([0.5], [True]), float)
    assert average_precision_from_distances([[0.5]], [[True]]).shape == (1,)


def test_infinite_distances_are_tied_at_the_end():
    computed = average_precision_from_distances([np.inf, 0.0, np.inf], [1, 0, 0])
    assert computed == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_zero_and_minus_zero_are_tied():
    assert average_precision_from_distances([0.0, -0.0], [1, 0]) == pytest.approx(0.75)


def test_queries_without_relevant_items():
    distances, relevance = [[0, 1], [0, 1]], [[0, 0], [0, 1]]
    with pytest.warns(UserWarning, match=r"1 of 2 queries \(first: 0\) have no relevant .* count as 0") as caught:
        assert_allclose(average_precision_from_distances(distances, relevance), [0, 0.5])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="1 of 1 queries"):
        assert average_precision_from_distances([0, 1], [0, 0]) == 0.0
    skipped = average_precision_from_distances(distances, relevance, zero_relevant="skip")
    assert_allclose(skipped, [np.nan, 0.5])
    with pytest.raises(ValueError, match=r"1 of 2 queries \(first: 0\) have no relevant item"):
        average_precision_from_distances(distances, relevance, zero_relevant="error")
    with pytest.raises(ValueError, match="none of the 1 queries has a relevant item"):
        average_precision_from_distances([0, 1], [0, 0], zero_relevant="skip")


@pytest.mark.parametrize(
    ("distances", "relevance", "parameters", "message"),
    [
        ([0.0, np.nan], [0, 1], {}, "distances hold NaN"),
        ([0, 1], [0], {}, r"relevance has shape \(1,\) and distances \(2,\)"),
        ([0, 1], [0, 2], {}, "relevance must be booleans or zeros and ones"),
        ([0, 1], ["a", "b"], {}, "relevance must be booleans or zeros and ones"),
        (["a", "b"], [0, 1], {}, "distances have dtype <U1"),
        ([1j], [1], {}, "distances have dtype complex128"),
        ([], [], {}, r"distances have shape \(0,\)"),
        ([[[0]]], [[[1]]], {}, r"distances have shape \(1, 1, 1\)"),
        ([0, 1], [0, 1], {"k": 3}, "k=3 must be <= the 2 database items"),
        ([0, 1], [0, 1], {"k": 0}, "k=0 must be an integer >= 1"),
        ([0, 1], [0, 1], {"k": 1.0}, "k=1.0 must be an integer >= 1"),
        ([0, 1], [0, 1], {"k": True}, "k=True must be an integer >= 1"),
        ([0, 1], [0, 1], {"ties": "random"}, "ties='random' must be one of 'expected', 'best', 'worst'"),
        ([0, 1], [0, 1], {"ties": None}, "ties=None must be one of"),
        ([0, 1], [0, 1], {"normalizer": "k"}, "normalizer='k' must be one of 'min_k_total', 'retrieved'"),
        ([0, 1], [0, 1], {"zero_relevant": 0}, "zero_relevant=0 must be one of 'zero', 'skip', 'error'"),
    ],
)
def test_misuse_is_named_in_one_line(distances, relevance, parameters, message):
    with pytest.raises(ValueError, match=message) as caught:
        average_precision_from_distances(distances, relevance, **parameters)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("average_precision_from_distances: ")
