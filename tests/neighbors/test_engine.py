"""Which index answers, and that the answers are those of a stable argsort whichever does."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="the engine chooses among loops compiled by numba")

from skhash import HammingNearestNeighbors, _compiled
from skhash.codes import hamming_distances
from skhash.neighbors import _engine
from skhash.neighbors._engine import SearchEngine


def clustered_codes(rng, n, n_bytes, n_flips):
    centers = np.random.RandomState(0).randint(0, 2, (50, 8 * n_bytes))
    return np.packbits(centers[rng.randint(0, 50, n)] ^ (rng.rand(n, 8 * n_bytes) < n_flips / (8 * n_bytes)), axis=1)


@pytest.fixture
def eager(monkeypatch):
    """An engine that waits for nothing before it decides for or against tables, however small the database."""
    monkeypatch.setattr(_compiled, "SECONDS_TO_COMPILE", 0.0)
    monkeypatch.setattr(_engine, "_FEWEST_CODES_FOR_TABLES", 1)
    monkeypatch.setattr(_engine, "_SECONDS_TO_DECIDE", 0.0)
    monkeypatch.setattr(_engine, "_SECONDS_TO_BUILD_PER_CODE", 0.0)


@pytest.mark.parametrize("n_jobs", [None, 3])
@pytest.mark.parametrize("n_flips", [1, 30])
@pytest.mark.parametrize("algorithm", ["auto", "brute", "mih"])
def test_every_algorithm_gives_the_same_answers(eager, monkeypatch, algorithm, n_flips, n_jobs):
    # Tables look good, so that the answer is put together of searches that the budget ends and of others.
    monkeypatch.setattr(_engine, "_FLAT_SECONDS_PER_WORD", 1e-8)
    rng = np.random.RandomState(n_flips)
    database, queries = clustered_codes(rng, 6000, 8, n_flips), clustered_codes(rng, 80, 8, n_flips)
    queries[::3] = rng.randint(0, 256, (27, 8))
    distances = hamming_distances(queries, database)
    order = np.argsort(distances, axis=1, kind="stable")
    search = HammingNearestNeighbors(algorithm=algorithm, n_jobs=n_jobs).fit(database)
    for _ in range(2):
        found, ids = search.kneighbors(queries, 10)
        np.testing.assert_array_equal(ids, order[:, :10])
        np.testing.assert_array_equal(found, np.take_along_axis(distances, order[:, :10], axis=1))
        for query, ids in enumerate(search.radius_neighbors(queries, 7)[1]):
            assert ids.tolist() == [row for row in order[query] if distances[query, row] <= 7]
    where = rng.rand(6000) < 0.1
    expected = [[row for row in ranking if where[row]][:5] for ranking in order]
    np.testing.assert_array_equal(search.kneighbors(queries, 5, where=where)[1], expected)
    search.remove(np.arange(100)).add(database[:100])
    rest = np.concatenate([database[100:], database[:100]])
    order = np.argsort(hamming_distances(queries, rest), axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(search.kneighbors(queries, 10)[1], np.arange(100, 6100)[order])


@pytest.mark.parametrize(("n_flips", "builds"), [(1, True), (32, False)])
def test_tables_are_built_for_clustered_codes_and_not_for_random_ones(eager, monkeypatch, n_flips, builds):
    monkeypatch.setattr(_engine, "_FLAT_SECONDS_PER_WORD", 1e-8)
    rng = np.random.RandomState(0)
    engine = SearchEngine(clustered_codes(rng, 20_000, 8, n_flips))
    engine.nearest(clustered_codes(rng, 20, 8, n_flips), 5)
    assert (engine._tables is not None) == builds


def test_tables_wait_until_searches_took_as_long_as_building_them(eager, monkeypatch):
    monkeypatch.setattr(_engine, "_FLAT_SECONDS_PER_WORD", 1e-8)
    # 20 queries of 20,000 codes of one word take 4 ms, building 20,000 codes 10 ms.
    monkeypatch.setattr(_engine, "_SECONDS_TO_BUILD_PER_CODE", 5e-7)
    rng = np.random.RandomState(0)
    engine = SearchEngine(clustered_codes(rng, 20_000, 8, 1))
    queries = clustered_codes(rng, 20, 8, 1)
    built = []
    for _ in range(4):
        engine.nearest(queries, 5)
        built.append(engine._tables is not None)
    assert built == [False, False, True, True]


def test_tables_that_leave_most_queries_unanswered_are_given_up(eager):
    """Searching random codes with algorithm="mih" took up to three times as long as an exhaustive search, each time."""
    rng = np.random.RandomState(0)
    engine = SearchEngine(clustered_codes(rng, 20_000, 8, 32))
    queries = clustered_codes(rng, 20, 8, 32)
    expected = np.argsort(hamming_distances(queries, engine.codes()), axis=1, kind="stable")[:, :5]
    asked = []
    for _ in range(3):
        np.testing.assert_array_equal(engine.nearest(queries, 5, algorithm="mih")[1], expected)
        asked.append(engine._n_asked.total())
    assert asked == [20, 20, 20]
    engine.nearest(queries, 4, algorithm="mih")
    assert engine._n_asked.total() == 40


def test_brute_never_builds_tables(eager):
    rng = np.random.RandomState(0)
    engine = SearchEngine(clustered_codes(rng, 20_000, 8, 1))
    engine.nearest(clustered_codes(rng, 20, 8, 1), 5, algorithm="brute")
    assert engine._tables is None


def test_answers_of_two_ways_of_searching_are_put_in_the_order_of_the_queries():
    is_first = np.array([True, False, True, False])
    first = np.array([1, 0, 2, 0]), np.array([10, 11, 12]), np.array([0, 1, 2])
    second = np.array([0, 3]), np.array([20, 21, 22]), np.array([5, 6, 7])
    counts, distances, positions = _engine._interleave(is_first, first, second)
    assert counts.tolist() == [1, 0, 2, 3]
    assert distances.tolist() == [10, 11, 12, 20, 21, 22]
    assert positions.tolist() == [0, 1, 2, 5, 6, 7]
