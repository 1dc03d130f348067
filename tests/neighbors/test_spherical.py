"""The spherical Hamming distance and its searches against double loops over bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skhash import HammingNearestNeighbors
from skhash.codes import pack_bits, spherical_hamming_distances, unpack_codes
from skhash.metrics import average_precision_from_distances
from skhash.neighbors import _spherical, rerank_spherical, spherical_neighbors

RNG = np.random.RandomState(0)


def distance(first, second):
    """Heo et al. 2012: |xor| / |and|, with 0.1 added to the denominator as in the authors' program."""
    differing = sum(bool(a) != bool(b) for a, b in zip(first, second, strict=True))
    shared = sum(bool(a) and bool(b) for a, b in zip(first, second, strict=True))
    return differing / (shared + 0.1)


def nearest(query, database, candidates, n_neighbors):
    """Candidates by distance; ``sorted`` is stable. Rounded, because sums of 0.1 are not exact."""
    order = sorted(candidates, key=lambda row: round(distance(query, database[row]), 9))[:n_neighbors]
    return [distance(query, database[row]) for row in order], order


@pytest.mark.parametrize("n_bits", [1, 8, 13, 64, 70, 300])
def test_distances_equal_the_double_loop(n_bits):
    queries, database = RNG.rand(5, n_bits) < 0.5, RNG.rand(9, n_bits) < 0.3
    expected = [[distance(query, item) for item in database] for query in queries]
    distances = spherical_hamming_distances(pack_bits(queries), pack_bits(database))
    assert distances.dtype == np.float64
    np.testing.assert_allclose(distances, expected, rtol=1e-12)


def test_distances_by_hand():
    """1100 and 1000 differ in one bit and share one; 1100 and 0011 differ in four and share none; 0000 is 0000."""
    codes = pack_bits([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]])
    distances = spherical_hamming_distances(codes)
    assert distances[0, 1] == pytest.approx(1 / 1.1)
    assert distances[0, 2] == pytest.approx(40)
    assert distances[0, 3] == pytest.approx(20)
    assert np.diag(distances).tolist() == [0, 0, 0, 0]
    np.testing.assert_array_equal(distances, distances.T)


def test_large_matrices_are_computed_in_blocks(monkeypatch):
    queries, database = pack_bits(RNG.rand(7, 20) < 0.5), pack_bits(RNG.rand(50, 20) < 0.5)
    whole = spherical_hamming_distances(queries, database)
    monkeypatch.setattr("skhash.codes._BLOCK_BYTES", 8 * 11)
    np.testing.assert_array_equal(spherical_hamming_distances(queries, database), whole)


@st.composite
def searches(draw):
    width = draw(st.integers(1, 11))
    row = st.lists(st.booleans(), min_size=width, max_size=width)
    queries = np.array(draw(st.lists(row, min_size=1, max_size=4)))
    database = np.array(draw(st.lists(row, min_size=1, max_size=25)))
    return queries, database, draw(st.integers(1, len(database)))


@given(searches())
@settings(max_examples=150, deadline=None)
def test_neighbours_equal_the_double_loop(search):
    queries, database, n_neighbors = search
    distances, rows = spherical_neighbors(pack_bits(queries), pack_bits(database), n_neighbors)
    expected = [nearest(query, database, range(len(database)), n_neighbors) for query in queries]
    assert rows.tolist() == [order for _, order in expected]
    np.testing.assert_allclose(distances, [of_query for of_query, _ in expected], rtol=1e-12)


@given(searches(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_reranking_equals_the_double_loop(search, random):
    queries, database, n_candidates = search
    shortlist = [random.sample(range(len(database)), n_candidates) for _ in queries]
    distances, rows = rerank_spherical(pack_bits(queries), pack_bits(database), shortlist)
    expected = [
        nearest(query, database, candidates, n_candidates) for query, candidates in zip(queries, shortlist, strict=True)
    ]
    assert rows.tolist() == [order for _, order in expected]
    np.testing.assert_allclose(distances, [of_query for of_query, _ in expected], rtol=1e-12)


@pytest.mark.parametrize("n_neighbors", [1, 7, 60, 500])
def test_neighbours_found_in_blocks_equal_a_stable_sort(monkeypatch, n_neighbors):
    """Codes of 6 bits, so that ties go across blocks of 50."""
    monkeypatch.setattr(_spherical, "_BLOCK_PAIRS", 50 * 64)
    queries, database = pack_bits(RNG.rand(70, 6) < 0.5), pack_bits(RNG.rand(500, 6) < 0.5)
    distances, rows = spherical_neighbors(queries, database, n_neighbors)
    matrix = spherical_hamming_distances(queries, database)
    order = np.argsort(matrix, axis=1, kind="stable")[:, :n_neighbors]
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_array_equal(distances, np.take_along_axis(matrix, order, axis=1))
    assert rows.dtype == np.int64


def test_shortlist_of_a_hamming_search_is_reranked_in_blocks(monkeypatch):
    monkeypatch.setattr("skhash.neighbors._rerank._BLOCK_PAIRS", 40)
    queries, database = pack_bits(RNG.rand(30, 24) < 0.5), pack_bits(RNG.rand(200, 24) < 0.5)
    _, shortlist = HammingNearestNeighbors().fit(database).kneighbors(queries, n_neighbors=200)
    distances, _ = rerank_spherical(queries, database, shortlist, n_neighbors=9)
    np.testing.assert_array_equal(distances, spherical_neighbors(queries, database, 9)[0])
    assert unpack_codes(database, 24).shape == (200, 24)


def test_equal_quotients_are_ties():
    """One bit differs from two items that share two bits; two bits differ from two items that share none."""
    query = pack_bits([[1, 1, 0, 0, 0]])
    database = pack_bits([[0, 0, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 0, 0, 1]])
    distances, rows = spherical_neighbors(query, database, 4)
    assert rows.tolist() == [[1, 3, 0, 2]]
    assert distances[0, 0] == distances[0, 1]
    assert distances[0, 2] == distances[0, 3] == 20.0


def test_rankings_can_be_scored():
    """By this distance the relevant code comes first; by Hamming distance both are at distance 2."""
    query, database = pack_bits([[1, 1, 1, 1, 0, 0]]), pack_bits([[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
    distances = spherical_hamming_distances(query, database)
    assert average_precision_from_distances(distances, np.array([[False, True]])) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[1]], [[1, 2]], 1), ValueError, "1 bytes cannot be compared with codes of 2 bytes"),
        (([[1]], [[1]], 2), ValueError, "spherical_neighbors: n_neighbors=2 must be <= 1"),
        (([[1]], [[1]], 0), ValueError, "spherical_neighbors: n_neighbors=0 must be >= 1"),
        (([[1]], [[1]], 1.0), TypeError, "spherical_neighbors: n_neighbors=1.0 must be an integer"),
        (([[256]], [[1]], 1), ValueError, "spherical_neighbors: query_codes"),
        (([[1]], [[True]], 1), TypeError, "spherical_neighbors: database_codes"),
    ],
)
def test_impossible_searches_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        spherical_neighbors(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1]], [[1, 2]], [[0]]), "1 bytes cannot be compared with codes of 2 bytes"),
        (([[1]], [[1]], [[1]]), "rerank_spherical: shortlist holds 1"),
        (([[1]], [[1]], [[0], [0]]), "rerank_spherical: got 2 shortlists for 1 queries"),
    ],
)
def test_impossible_shortlists_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        rerank_spherical(*arguments)
