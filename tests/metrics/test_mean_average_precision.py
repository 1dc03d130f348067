"""Mean average precision of codes, against sorting a distance matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from skhash.metrics import average_precision_from_distances, mean_average_precision


def naive_distances(query_codes, database_codes):
    return np.array(
        [[sum(bin(int(a) ^ int(b)).count("1") for a, b in zip(q, x, strict=True)) for x in database_codes]
         for q in query_codes]
    )  # fmt: skip


def random_problem(rng, *, n_queries=9, n_database=40, n_bytes=2, n_classes=3):
    # Few distinct byte values: collisions and long tie groups.
    codes = rng.choice(np.array([0, 1, 3, 255], dtype=np.uint8), size=(n_queries + n_database, n_bytes))
    labels = rng.integers(0, n_classes, n_queries + n_database)
    return codes[:n_queries], codes[n_queries:], labels[:n_queries], labels[n_queries:]


@given(seed=st.integers(0, 2**32 - 1), n_bytes=st.integers(1, 10), limit=st.one_of(st.none(), st.integers(1, 40)))
@settings(deadline=None, max_examples=30)
def test_equals_average_precision_of_the_distance_matrix(seed, n_bytes, limit):
    query_codes, database_codes, query_labels, database_labels = random_problem(
        np.random.default_rng(seed), n_bytes=n_bytes
    )
    distances = naive_distances(query_codes, database_codes)
    relevance = query_labels[:, None] == database_labels
    for ties in ("expected", "best", "worst"):
        for normalizer in ("min_k_total", "retrieved"):
            parameters = {"k": limit, "ties": ties, "normalizer": normalizer}
            score, per_query = mean_average_precision(
                query_codes, database_codes, query_labels, database_labels, return_per_query=True, **parameters
            )
            wanted = average_precision_from_distances(distances, relevance, **parameters)
            assert_allclose(per_query, wanted, atol=1e-13)
            assert score == pytest.approx(wanted.mean(), abs=1e-13)


def test_relevance_of_indicators_is_one_shared_label():
    rng = np.random.default_rng(0)
    query_codes, database_codes, *_ = random_problem(rng)
    query_labels, database_labels = (
        rng.integers(0, 2, (9, 70)) * (rng.random((9, 70)) < 0.3),
        rng.integers(0, 2, (40, 70)),
    )
    database_labels[rng.random(40) < 0.5] = 0
    relevance = np.array(
        [[any(a and b for a, b in zip(q, x, strict=True)) for x in database_labels] for q in query_labels]
    )
    assert 0 < relevance.mean() < 1
    wanted = average_precision_from_distances(naive_distances(query_codes, database_codes), relevance)
    computed = mean_average_precision(
        query_codes, database_codes, query_labels, database_labels, return_per_query=True
    )[1]
    assert_allclose(computed, wanted, atol=1e-13)


@pytest.mark.parametrize("multilabel", [False, True])
def test_leave_one_out_removes_each_query_from_its_own_ranking(multilabel):
    rng = np.random.default_rng(0)
    codes, _, labels, _ = random_problem(rng, n_queries=25)
    if multilabel:
        labels = rng.integers(0, 2, (25, 3))
        relevance = (labels @ labels.T) > 0
    else:
        relevance = labels[:, None] == labels
    distances = naive_distances(codes, codes)
    others = ~np.eye(25, dtype=bool)
    # Some items have no label at all.
    parameters = {"k": 5, "normalizer": "retrieved", "zero_relevant": "skip"}
    wanted = average_precision_from_distances(
        distances[others].reshape(25, 24), relevance[others].reshape(25, 24), **parameters
    )
    computed = mean_average_precision(codes, None, labels, None, return_per_query=True, **parameters)
    assert_allclose(computed[1], wanted, atol=1e-13)
    assert computed[0] == pytest.approx(np.nanmean(wanted))


def test_collapsed_codes_score_the_same_in_any_order_of_the_database():
    """A stable sort of equal codes, ordered by class, gave the first class 1.0 and the last 0.32."""
    codes = np.zeros((40, 1), dtype=np.uint8)
    labels = np.repeat([0, 1], 20)
    one_query = np.zeros((1, 1), dtype=np.uint8)
    scores = [mean_average_precision(one_query, codes, [0], order) for order in (labels, labels[::-1])]
    assert scores[0] == scores[1]
    assert 0.5 < scores[0] < 0.6
    assert mean_average_precision(one_query, codes, [0], labels, ties="best") == 1.0


def test_queries_inside_the_database_give_a_warning_that_names_leave_one_out():
    codes = np.random.default_rng(0).integers(0, 256, (20, 4), dtype=np.uint8)
    labels = np.arange(20) % 3
    with pytest.warns(UserWarning, match="queries find themselves; pass database_codes=None") as caught:
        mean_average_precision(codes, codes, labels, labels)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="share memory"):
        mean_average_precision(codes[:5], codes, labels[:5], labels)
    mean_average_precision(codes[:5], codes[5:], labels[:5], labels[5:])
    mean_average_precision(codes[::2], codes[1::2], labels[::2], labels[1::2])


@pytest.mark.parametrize("n_bytes", [4, 8])
@pytest.mark.parametrize("n_strangers", [0, 12])
@pytest.mark.parametrize("multilabel", [False, True])
def test_copies_of_queries_inside_the_database_scored_without_a_warning(n_bytes, n_strangers, multilabel):
    """888 of 1 000 queries were in the database of one public repository; a copy shares no memory."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (400, n_bytes), dtype=np.uint8)
    labels = (rng.random((400, 5)) < 0.4) | (np.arange(5) == 0) if multilabel else rng.integers(0, 3, 400)
    queries = slice(0, 100)
    database = slice(n_strangers, None)
    with pytest.warns(UserWarning, match=f"for {100 - n_strangers} of 100 queries, the database holds") as caught:
        mean_average_precision(codes[queries].copy(), codes[database], labels[queries], labels[database])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert "\n" not in str(caught[0].message)
    mean_average_precision(codes[queries].copy(), codes[100:], labels[queries], labels[100:])


@pytest.mark.parametrize("n_database", [20, 256, 4000, 65_536])
def test_independent_short_codes_collide_without_a_warning(n_database):
    """Any density of 8- and 16-bit codes; all items are of one class, so that every collision is relevant."""
    rng = np.random.default_rng(0)
    for n_bytes in (1, 2):
        query_codes = rng.integers(0, 256, (30, n_bytes), dtype=np.uint8)
        database_codes = rng.integers(0, 256, (n_database, n_bytes), dtype=np.uint8)
        mean_average_precision(query_codes, database_codes, np.zeros(30), np.zeros(n_database))


def test_a_database_of_one_center_a_class_gives_no_warning():
    """Collapsed codes of 40 queries each meet the one item of their class."""
    centers = np.array([[0, 0], [255, 0], [0, 255], [255, 255]], dtype=np.uint8)
    classes = np.arange(40) % 4
    assert mean_average_precision(centers[classes], centers, classes, np.arange(4)) == 1.0


def test_finding_the_only_relevant_item_by_an_equal_code_gives_no_warning():
    """Near-duplicates, and galleries of one picture a person: an equal code is what the hasher is meant to give."""
    codes = np.random.default_rng(0).integers(0, 256, (200, 8), dtype=np.uint8)
    objects = np.arange(200)
    assert mean_average_precision(codes[:100].copy(), codes, objects[:100], objects) == 1.0
    database = np.concatenate([codes, codes[::-1]])
    assert (
        mean_average_precision(codes[:100].copy(), database, objects[:100], np.concatenate([objects, objects[::-1]]))
        == 1.0
    )


def test_duplicates_on_both_sides_of_a_split_give_a_warning():
    """Every item occurs twice, once among the queries and once in the database."""
    codes = np.random.default_rng(0).integers(0, 256, (100, 8), dtype=np.uint8)
    classes = np.arange(100) % 4
    with pytest.warns(
        UserWarning, match="for 100 of 100 queries, .* which then find themselves, or duplicates of them"
    ):
        mean_average_precision(codes[::-1], codes, classes[::-1], classes)


def test_leave_one_out_of_pairs_of_copies_gives_no_warning():
    codes = np.random.default_rng(0).integers(0, 256, (40, 8), dtype=np.uint8)
    labels = np.arange(40) % 2
    mean_average_precision(np.tile(codes, (2, 1)), None, np.tile(labels, 2))


def test_queries_without_relevant_items_are_never_dropped_silently():
    problem = ([[0], [0]], [[0], [1]], ["cat", "dog"], ["cat", "cat"])
    with pytest.warns(UserWarning, match=r"1 of 2 queries \(first: 1\) .* count as 0; check that both") as caught:
        assert mean_average_precision(*problem) == 0.5
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert "\n" not in str(caught[0].message)
    assert mean_average_precision(*problem, zero_relevant="skip") == 1.0
    score, per_query = mean_average_precision(*problem, zero_relevant="skip", return_per_query=True)
    assert score == 1.0
    assert_allclose(per_query, [1.0, np.nan])
    with pytest.raises(ValueError, match=r"1 of 2 queries \(first: 1\) have no relevant item in the database"):
        mean_average_precision(*problem, zero_relevant="error")
    for zero_relevant in ("zero", "skip"):
        with pytest.raises(ValueError, match="none of the 1 queries has a relevant item"):
            mean_average_precision([[0]], [[0]], ["dog"], ["cat"], zero_relevant=zero_relevant)


@pytest.mark.parametrize(
    ("arguments", "parameters", "message"),
    [
        (([[0]], [[0], [1]], [0], [0, 1]), {"k": 3}, "k=3 must be <= the 2 database items"),
        (([[0], [1]], None, [0, 0], None), {"k": 2}, "k=2 must be <= the 1 database items"),
        (([[0]], None, [0], None), {}, "one code alone has nothing to rank"),
        (([[0]], [[0]], [0], None), {}, "pass both database_codes and database_labels, or neither"),
        (([[0]], None, [0], [0]), {}, "pass both database_codes and database_labels, or neither"),
        (([[0]], [[0, 0]], [0], [0]), {}, "query_codes have 1 bytes and database_codes 2"),
        (([[0.5]], [[0]], [0], [0]), {}, "query_codes: .*0.5"),
        (([[0]], [[300]], [0], [0]), {}, "database_codes: .*300"),
        (([[0]], [[0]], [0, 1], [0]), {}, "query_labels has 2 items and its codes have 1"),
        (([[0]], [[0]], [0], [0]), {"ties": "stable"}, "ties='stable' must be one of"),
    ],
)
def test_misuse_is_named_in_one_line(arguments, parameters, message):
    with pytest.raises(ValueError, match=message) as caught:
        mean_average_precision(*arguments, **parameters)
    # Wrong labels raised a private subclass, whose name a traceback shows and nobody can import.
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("mean_average_precision: ")
