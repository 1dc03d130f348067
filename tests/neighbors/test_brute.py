"""The search against a stable argsort of all distances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skhash.codes import hamming_distances
from skhash.neighbors import _brute
from skhash.neighbors._brute import BruteIndex


@st.composite
def searches(draw):
    """Codes with many ties: few distinct values, from one byte to three words."""
    n_bytes = draw(st.sampled_from([1, 2, 8, 9, 24]))
    n_values = draw(st.integers(1, 256))
    rng = np.random.RandomState(draw(st.integers(0, 2**31 - 1)))
    shape = draw(st.integers(1, 40)), n_bytes
    database = rng.randint(0, n_values, size=(draw(st.integers(1, 300)), n_bytes)).astype(np.uint8)
    queries = rng.randint(0, n_values, size=shape).astype(np.uint8)
    return queries, database, draw(st.integers(1, len(database)))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks of queries and of the database, none of a round size."""
    monkeypatch.setattr(_brute, "_QUERIES_PER_BLOCK", 7)
    monkeypatch.setattr(_brute, "_PAIRS_PER_BLOCK", 7 * 31)


@given(searches())
def test_nearest_equals_stable_argsort(search):
    queries, database, k = search
    distances, positions = BruteIndex(database).nearest(queries, k)
    everything = hamming_distances(queries, database)
    expected = np.argsort(everything, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(positions, expected)
    np.testing.assert_array_equal(distances, np.take_along_axis(everything, expected, axis=1))
    assert (distances.dtype, positions.dtype) == (np.int32, np.int64)


@given(searches(), st.floats(0, 70))
def test_radius_equals_filtered_stable_argsort(search, radius):
    queries, database, _ = search
    counts, distances, positions = BruteIndex(database).within_radius(queries, radius)
    everything = hamming_distances(queries, database)
    end = np.cumsum(counts)
    for query, row in enumerate(everything):
        order = [position for position in np.argsort(row, kind="stable") if row[position] <= radius]
        own = slice(end[query] - counts[query], end[query])
        assert positions[own].tolist() == order
        assert distances[own].tolist() == row[order].tolist()


def test_falling_distances_make_every_block_enter():
    database = np.packbits(np.tri(64, dtype=bool)[::-1], axis=1).repeat(10, axis=0)
    queries = np.zeros((3, 8), np.uint8)
    _, positions = BruteIndex(database).nearest(queries, 12)
    expected = np.argsort(hamming_distances(queries, database), axis=1, kind="stable")[:, :12]
    np.testing.assert_array_equal(positions, expected)


def test_memory_is_bounded_by_the_block(monkeypatch):
    """No array of n_queries x n_database may appear: 2 000 x 50 000 distances would be 100 MB even as bytes."""
    import tracemalloc

    monkeypatch.undo()
    rng = np.random.RandomState(0)
    queries = rng.randint(0, 256, (2000, 8)).astype(np.uint8)
    index = BruteIndex(rng.randint(0, 256, (50_000, 8)).astype(np.uint8))
    tracemalloc.start()
    index.nearest(queries, 10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6
