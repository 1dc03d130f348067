"""Codes in a memory map, searched piece by piece, against a stable argsort of all distances."""

import subprocess
import sys

import numpy as np
import pytest

from skhash import HammingNearestNeighbors, _compiled
from skhash.codes import hamming_distances
from skhash.neighbors import _engine, _streamed
from skhash.neighbors._brute import BruteIndex
from skhash.neighbors._grown_map import GrownMap
from skhash.neighbors._merge import merge_nearest
from skhash.neighbors._streamed import StreamedIndex


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(_streamed, "PIECE_BYTES", 800)
    monkeypatch.setattr(_engine, "PIECE_BYTES", 800)


@pytest.fixture
def mapped(tmp_path):
    def write(codes):
        np.save(tmp_path / "codes.npy", codes)
        return np.load(tmp_path / "codes.npy", mmap_mode="r")

    return write


def test_merge_keeps_the_order_of_positions_at_equal_distances():
    parts = [
        (np.array([[1, 4, 4]], np.int32), np.array([[7, 0, 3]])),
        (np.array([[1, 2]], np.int32), np.array([[12, 10]])),
    ]
    distances, positions = merge_nearest(parts, 4)
    assert distances.tolist() == [[1, 1, 2, 4]]
    assert positions.tolist() == [[7, 12, 10, 0]]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("n_codes", [101, 400, 999])
def test_map_is_searched_like_an_array(small_pieces, mapped, monkeypatch, compiled, n_codes):
    if compiled:
        pytest.importorskip("numba")
    monkeypatch.setattr(_compiled, "SECONDS_TO_COMPILE", 0.0 if compiled else float("inf"))
    monkeypatch.setattr(_engine, "_is_compiled", lambda search, n_bytes: compiled)
    rng = np.random.RandomState(n_codes)
    codes, queries = (rng.randint(0, 4, (n, 8)).astype(np.uint8) for n in (n_codes, 20))
    distances = hamming_distances(queries, codes)
    order = np.argsort(distances, axis=1, kind="stable")
    for n_jobs in (None, 2):
        search = HammingNearestNeighbors(n_jobs=n_jobs).fit(mapped(codes))
        for k in (1, 10, n_codes):
            found, ids = search.kneighbors(queries, k)
            np.testing.assert_array_equal(ids, order[:, :k])
            np.testing.assert_array_equal(found, np.take_along_axis(distances, order[:, :k], axis=1))
        where = np.zeros(n_codes, dtype=bool)
        where[[5, 90, 100]] = True
        kept = [[row for row in ranking if where[row]] for ranking in order]
        np.testing.assert_array_equal(search.kneighbors(queries, 3, where=where)[1], kept)
        for query, ids in enumerate(search.radius_neighbors(queries, 6)[1]):
            assert ids.tolist() == [row for row in order[query] if distances[query, row] <= 6]


def test_threads_search_parts_of_a_map(small_pieces):
    rng = np.random.RandomState(0)
    codes, queries = (rng.randint(0, 4, (n, 8)).astype(np.uint8) for n in (730, 4))
    order = np.argsort(hamming_distances(queries, codes), axis=1, kind="stable")
    for n_parts in (2, 3, 20):
        np.testing.assert_array_equal(
            StreamedIndex(codes, BruteIndex).nearest(queries, 9, None, n_parts)[1], order[:, :9]
        )


def test_map_grows_and_shrinks_without_being_read(small_pieces, mapped):
    codes = np.random.RandomState(0).randint(0, 256, (300, 8)).astype(np.uint8)
    search = HammingNearestNeighbors(1).fit(mapped(codes)).add(codes[:2]).remove([0])
    np.testing.assert_array_equal(search.codes_, np.concatenate([codes[1:], codes[:2]]))
    assert search.kneighbors(codes[:1])[1].tolist() == [[300]]
    assert isinstance(search._database.engine._codes, GrownMap)
    assert _engine._is_large_map(search._database.engine._codes._mapped)


@pytest.mark.parametrize("compiled", [False, True])
def test_grown_map_is_searched_like_an_array(small_pieces, mapped, monkeypatch, compiled):
    if compiled:
        pytest.importorskip("numba")
    monkeypatch.setattr(_compiled, "SECONDS_TO_COMPILE", 0.0 if compiled else float("inf"))
    monkeypatch.setattr(_engine, "_is_compiled", lambda search, n_bytes: compiled)
    rng = np.random.RandomState(0)
    codes, queries = (rng.randint(0, 4, (n, 8)).astype(np.uint8) for n in (400, 20))
    in_memory, grown = (HammingNearestNeighbors(9, radius=8).fit(made) for made in (codes, mapped(codes)))
    for _ in range(8):
        more, removed = rng.randint(0, 4, (rng.randint(1, 150), 8)), rng.choice(in_memory.ids_, 90, replace=False)
        for search in (in_memory, grown):
            search.add(more).remove(removed)
        np.testing.assert_array_equal(grown.codes_, in_memory.codes_)
        np.testing.assert_array_equal(grown.kneighbors(queries), in_memory.kneighbors(queries))
        where = rng.choice(in_memory.ids_, 50, replace=False)
        np.testing.assert_array_equal(
            grown.kneighbors(queries, where=where), in_memory.kneighbors(queries, where=where)
        )
        for found, expected in zip(
            grown.radius_neighbors(queries)[1], in_memory.radius_neighbors(queries)[1], strict=True
        ):
            np.testing.assert_array_equal(found, expected)
    assert isinstance(grown._database.engine._codes, GrownMap)
    grown.remove(grown.ids_)
    assert grown.codes_.shape == (0, 8)


@pytest.mark.parametrize("n_removed", [0, 1, 7, 30])
def test_every_slice_of_a_grown_map(n_removed):
    rng = np.random.RandomState(n_removed)
    mapped, added = (rng.randint(0, 256, (n, 3)).astype(np.uint8) for n in (20, 10))
    codes, grown = np.concatenate([mapped, added]), GrownMap.of(mapped).extended(added[:4]).extended(added[4:])
    for row in rng.permutation(30)[:n_removed]:
        # One after the other, at the position that the row has then.
        position = np.flatnonzero((codes == np.concatenate([mapped, added])[row]).all(axis=1))
        codes, grown = np.delete(codes, position, axis=0), grown.without(position)
    assert grown.shape == codes.shape
    for start in range(len(codes) + 1):
        for stop in range(len(codes) + 1):
            np.testing.assert_array_equal(grown[start:stop], codes[start:stop])


def test_small_map_is_copied(mapped, tmp_path):
    codes = np.random.RandomState(0).randint(0, 256, (300, 8)).astype(np.uint8)
    search = HammingNearestNeighbors(1).fit(mapped(codes))
    np.save(tmp_path / "codes.npy", codes[::-1])
    assert search.kneighbors(codes[:1])[1].tolist() == [[0]]


LIMITED = """if True:
    import resource, sys, numpy as np
    from skhash import HammingNearestNeighbors
    from skhash import _compiled
    _compiled.SECONDS_TO_COMPILE = float(sys.argv[2])
    codes = np.load(sys.argv[1], mmap_mode="r")
    search = HammingNearestNeighbors(1).fit(codes)
    search.kneighbors(codes[:1], where=np.arange(5))
    used = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + codes.nbytes // 2,) * 2)
    queries = np.ascontiguousarray(codes[::400_000])
    print(search.kneighbors(queries)[1].ravel().tolist() == list(range(0, len(codes), 400_000)))
    np.array(codes)"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit and the reading of what is used are Linux's")
@pytest.mark.parametrize("seconds_to_compile", ["0", "inf"])
def test_map_larger_than_the_memory_left_is_searched(tmp_path, seconds_to_compile):
    n_codes = 16_000_000
    codes = np.lib.format.open_memmap(tmp_path / "codes.npy", "w+", np.uint8, (n_codes, 8))
    codes.view(">u8")[:, 0] = np.arange(n_codes, dtype=np.uint64) * 0x9E3779B97F4A7C15
    codes.flush()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path / "codes.npy", seconds_to_compile], capture_output=True, text=True
    )
    assert done.stdout.strip() == "True"
    # The same limit is too low for a copy.
    assert "MemoryError" in done.stderr
