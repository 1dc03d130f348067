"""The compiled loops against a stable argsort of all distances: every width, ties, blocks that are not full."""

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import Parallel, delayed, parallel_config
from sklearn.base import clone

pytest.importorskip("numba", reason="the loops are compiled by numba")

from skhash import HammingNearestNeighbors, _compiled
from skhash.codes import hamming_distances
from skhash.neighbors import _engine, _flat
from skhash.neighbors._bitslice import adder_network, block_shape, n_counters, padded_bits
from skhash.neighbors._flat import FlatIndex

# Bytes of a code, so that widths are filled, padded, and followed by another.
COMMON_BYTES = [1, 3, 4, 8, 13]
LONG_BYTES = [16, 24, 31, 32, 63, 64, 65, 128, 257, 512]


def expected_nearest(queries, database, k, rows=None):
    everything = hamming_distances(queries, database)
    if rows is not None:
        left_out = np.setdiff1d(np.arange(len(database)), rows)
        everything[:, left_out] = 10**6
    order = np.argsort(everything, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(everything, order, axis=1), order


def random_codes(rng, n, n_bytes, n_values):
    return rng.randint(0, n_values, (n, n_bytes)).astype(np.uint8)


def check_nearest(index, queries, database, k, rows=None):
    distances, positions = index.nearest(queries, k, rows)
    expected_distances, expected_positions = expected_nearest(queries, database, k, rows)
    np.testing.assert_array_equal(distances, expected_distances)
    np.testing.assert_array_equal(positions, expected_positions)
    assert (distances.dtype, positions.dtype) == (np.int32, np.int64)


def check_within_radius(index, queries, database, radius, rows=None):
    counts, distances, positions = index.within_radius(queries, radius, rows)
    everything = hamming_distances(queries, database)
    allowed = np.ones(len(database), dtype=bool) if rows is None else np.isin(np.arange(len(database)), rows)
    stops = np.cumsum(counts)
    for query, row in enumerate(everything):
        order = [i for i in np.argsort(row, kind="stable") if row[i] <= radius and allowed[i]]
        own = slice(stops[query] - counts[query], stops[query])
        assert positions[own].tolist() == order
        assert distances[own].tolist() == row[order].tolist()


def check_width(n_bytes, seed):
    """A few sizes and kinds of data for one code length, with the tables and without them."""
    rng = np.random.RandomState(seed)
    for n_database, n_values in [(1, 256), (511, 256), (512, 2), (513, 1), (1500, 256), (9000, 3), (20_000, 256)]:
        database = random_codes(rng, n_database, n_bytes, n_values)
        index = FlatIndex(database)
        for n_queries in (1, 9, 10, 70):
            queries = random_codes(rng, n_queries, n_bytes, n_values)
            for k in {1, min(10, n_database), n_database // 3 + 1}:
                check_nearest(index, queries, database, k)
        rows = np.flatnonzero(rng.rand(n_database) < 0.3)
        if len(rows):
            check_nearest(index, queries[:7], database, (len(rows) + 1) // 2, rows)
            check_nearest(index, queries[:2], database, len(rows), rows)
        check_within_radius(index, queries[:9], database, n_bytes, rows)
        check_within_radius(index, queries[:2], database, 3 * n_bytes)


@pytest.mark.parametrize("n_bytes", COMMON_BYTES)
def test_common_widths_equal_stable_argsort(n_bytes):
    check_width(n_bytes, seed=n_bytes)


@pytest.mark.slow
@pytest.mark.parametrize("n_bytes", LONG_BYTES)
def test_long_widths_equal_stable_argsort(n_bytes):
    check_width(n_bytes, seed=n_bytes)


@st.composite
def searches(draw):
    rng = np.random.RandomState(draw(st.integers(0, 2**31 - 1)))
    n_bytes, n_values = draw(st.sampled_from([4, 8])), draw(st.sampled_from([1, 2, 4, 256]))
    database = random_codes(rng, draw(st.integers(1, 12_000)), n_bytes, n_values)
    if draw(st.booleans()):  # sorted data mislead a sample that is spread evenly
        database = database[np.lexsort(database.T)]
    queries = random_codes(rng, draw(st.integers(1, 40)), n_bytes, n_values)
    return queries, database, draw(st.integers(1, min(len(database), 1500)))


@settings(max_examples=60, deadline=None)
@given(searches())
def test_any_search_equals_stable_argsort(search):
    queries, database, k = search
    check_nearest(FlatIndex(database), queries, database, k)


def test_sample_that_misleads_is_noticed_and_the_query_searched_again():
    """The sampled blocks hold all the near codes, so the bound taken from them is too low for k neighbours."""
    n_blocks = 300
    database = np.full((512 * n_blocks, 8), 255, np.uint8)
    n_sampled, rank = FlatIndex(database)._sample(100, len(database))
    assert 0 < n_sampled < n_blocks
    assert rank < 512 * n_sampled
    sampled = np.arange(n_sampled) * n_blocks // n_sampled
    near = (sampled[:, None] * 512 + np.arange(512)).ravel()[: rank + 5]
    assert len(near) < 100
    database[near] = 0
    check_nearest(FlatIndex(database), np.zeros((8, 8), np.uint8), database, 100)


def test_extended_index_equals_one_built_at_once():
    rng = np.random.RandomState(0)
    database = random_codes(rng, 3000, 8, 256)
    index = FlatIndex(database[:1])
    for start, stop in [(1, 7), (7, 512), (512, 513), (513, 1530), (1530, 3000)]:
        index = index.extended(database[start:stop])
    np.testing.assert_array_equal(index.blocks, FlatIndex(database).blocks)
    np.testing.assert_array_equal(index.codes(), database)
    check_nearest(index, database[:10], database, 10)


def test_some_codes_are_spread_over_the_database():
    database = np.arange(10_000, dtype=">u2").view(np.uint8).reshape(-1, 2)
    index = FlatIndex(database)
    np.testing.assert_array_equal(index.some_codes(20_000), database)
    rows = index.some_codes(1000).view(">u2").ravel()
    assert 900 < len(rows) < 1100
    assert set(np.diff(rows)) == {1, 9 * 64 + 1}


def test_two_indexes_that_grow_from_one_do_not_mix():
    rng = np.random.RandomState(0)
    database, left, right = (random_codes(rng, n, 8, 256) for n in (700, 90, 400))
    root = FlatIndex(database).extended(database[:30])
    database = np.concatenate([database, database[:30]])
    grown = [(root.extended(more), np.concatenate([database, more])) for more in (left, right)]
    for index, codes in [*grown, (root, database)]:
        np.testing.assert_array_equal(index.codes(), codes)
        check_nearest(index, codes[-20:], codes, 10)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31 - 1), st.sampled_from([0.01, 0.2, 0.24, 0.3, 0.9]))
def test_index_without_some_codes_equals_one_built_of_the_rest(seed, share):
    rng = np.random.RandomState(seed)
    database = random_codes(rng, rng.randint(2, 3000), 8, rng.choice([2, 256]))
    index = FlatIndex(database)
    for _ in range(3):
        positions = rng.permutation(np.flatnonzero(rng.rand(len(database)) < share)[: len(database) - 1])
        index, database = index.without(positions), np.delete(database, positions, axis=0)
        more = random_codes(rng, rng.randint(1, 100), 8, 256)
        index, database = index.extended(more), np.concatenate([database, more])
        np.testing.assert_array_equal(index.codes(), database)
        queries = random_codes(rng, 12, 8, 256)
        rows = np.flatnonzero(rng.rand(len(database)) < 0.5)
        check_nearest(index, queries, database, min(20, len(database)))
        if len(rows):
            check_nearest(index, queries, database, min(20, len(rows)), rows)
        check_within_radius(index, queries, database, 24, rows)


def test_removed_codes_take_room_until_they_are_a_quarter():
    database = random_codes(np.random.RandomState(0), 512 * 40, 8, 256)
    index = FlatIndex(database)
    assert len(index.without(np.arange(512 * 10)).blocks) == 40
    assert len(index.without(np.arange(512 * 10 + 1)).blocks) == 30


@pytest.mark.parametrize("n_parts", [2, 3, 7])
def test_parts_of_the_database_searched_apart_give_the_same_answers(n_parts):
    rng = np.random.RandomState(n_parts)
    database, queries = random_codes(rng, 3000, 8, 4), random_codes(rng, 3, 8, 4)
    with ThreadPoolExecutor(n_parts) as pool:
        for k in (1, 50, 2900, 3000):
            distances, positions = FlatIndex(database).nearest(queries, k, None, n_parts, pool.map)
            expected = expected_nearest(queries, database, k)
            np.testing.assert_array_equal(distances, expected[0])
            np.testing.assert_array_equal(positions, expected[1])


def test_index_takes_the_bytes_of_the_codes_and_a_bit_each():
    assert FlatIndex(np.zeros((512 * 100, 8), np.uint8)).nbytes == 512 * 100 * 8 + 512 * 100 // 8


@pytest.mark.parametrize("n_rows", [1, 2, 3, 32, 64, 100])
def test_adder_network_counts_ones(n_rows):
    """Run the planned circuit on single bits, for random inputs, and read the number off its counters."""
    steps, counters = adder_network([(0, str(row)) for row in range(n_rows)])
    rng = np.random.RandomState(n_rows)
    for _ in range(20):
        bits = rng.randint(0, 2, n_rows)
        rows = {}
        for kind, *names in steps:
            if kind == "load":
                rows[names[0]] = bits[int(names[0])]
            else:
                total = sum(rows[name] for name in names[2:])
                rows[names[0]], rows[names[1]] = total & 1, total >> 1
        assert sum(rows[name] << digit for digit, name in enumerate(counters)) == bits.sum()
    assert len(counters) == n_counters(n_rows)


@pytest.mark.parametrize("n_bits", [1, 31, 32, 33, 64, 65, 4095, 4096])
def test_codes_are_padded_to_whole_chunks(n_bits):
    padded = padded_bits(n_bits)
    assert padded >= n_bits
    assert padded == 32 if n_bits <= 32 else padded % 64 == 0 and padded - n_bits < 64
    assert np.prod(block_shape(padded)) == 8 * padded
    assert len(block_shape(padded)) == 3 + n_counters(padded) - n_counters(32)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_estimator_gives_the_same_answers_compiled_or_not(monkeypatch, n_jobs):
    rng = np.random.RandomState(0)
    database, queries = random_codes(rng, 5000, 8, 16), random_codes(rng, 100, 8, 16)
    where = rng.rand(5000) < 0.5

    def answers():
        search = HammingNearestNeighbors(n_jobs=n_jobs).fit(database[:4000]).add(database[4000:]).remove([7, 4500])
        yield from search.kneighbors(queries, 20)
        yield from search.kneighbors(n_neighbors=3)
        yield from search.kneighbors(queries, 5, where=where[search.ids_])
        for part in search.radius_neighbors(queries, 12):
            yield np.concatenate(part)
        yield search.kneighbors_graph(queries, 4, mode="distance").toarray()

    monkeypatch.setattr(_compiled, "SECONDS_TO_COMPILE", float("inf"))
    monkeypatch.setattr(_engine, "_is_compiled", lambda search, n_bytes: False)
    with_numpy = list(answers())
    monkeypatch.setattr(_compiled, "SECONDS_TO_COMPILE", 0.0)
    for ours, expected in zip(answers(), with_numpy, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_add_does_not_build_the_index_again(monkeypatch):
    monkeypatch.setattr(_compiled, "SECONDS_TO_COMPILE", 0.0)
    rng = np.random.RandomState(0)
    search = HammingNearestNeighbors(n_neighbors=1).fit(random_codes(rng, 2000, 8, 256))
    search.kneighbors(search.codes_[:1])
    transposed = []
    write_codes = _flat.write_codes
    monkeypatch.setattr(
        _flat, "write_codes", lambda codes, *rest: (transposed.append(len(codes)), write_codes(codes, *rest))
    )
    search.add(random_codes(rng, 10, 8, 256))
    assert search.kneighbors(search.codes_[2005:2006])[1].tolist() == [[2005]]
    assert transposed == [10]


def test_pickle_leaves_the_index_out():
    rng = np.random.RandomState(0)
    search = HammingNearestNeighbors(n_neighbors=1).fit(random_codes(rng, 20_000, 8, 256))
    search._database.engine._flat_index()
    data = pickle.dumps(search)
    assert len(data) < 1.5 * (search.codes_.nbytes + search.ids_.nbytes)
    assert pickle.loads(data).kneighbors(search.codes_[9:10])[1].tolist() == [[9]]


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    ).stdout.strip()


def test_small_searches_do_not_load_numba():
    code = """if True:
        import sys, numpy as np
        from skhash import HammingNearestNeighbors
        rng = np.random.RandomState(0)
        search = HammingNearestNeighbors().fit(rng.randint(0, 256, (10_000, 8)).astype(np.uint8))
        search.kneighbors(rng.randint(0, 256, (100, 8)).astype(np.uint8))
        print('numba' in sys.modules)"""
    assert run_python(code) == "False"


def test_search_answers_without_numba():
    code = """if True:
        import sys
        sys.modules['numba'] = None
        import importlib.util, numpy as np
        find_spec = importlib.util.find_spec
        importlib.util.find_spec = lambda name: None if name == 'numba' else find_spec(name)
        from skhash import HammingNearestNeighbors
        from skhash import _compiled
        _compiled.SECONDS_TO_COMPILE = 0.0
        print(HammingNearestNeighbors(n_neighbors=2).fit([[0], [1], [3]]).kneighbors([[1]])[1].tolist())"""
    assert run_python(code) == "[[1, 0]]"


GENERIC = """if True:
    import numpy as np
    from skhash.codes import hamming_distances
    from skhash._rows import has_ternary_logic
    from skhash.neighbors._flat import FlatIndex
    rng = np.random.RandomState(0)
    database, queries = (rng.randint(0, 256, (n, 8)).astype(np.uint8) for n in (20_000, 20))
    everything = hamming_distances(queries, database)
    order = np.argsort(everything, axis=1, kind='stable')[:, :30]
    index = FlatIndex(database)
    same = all((index.nearest(queries[:n], 30)[1] == order[:n]).all() for n in (2, 20))
    counts = (everything <= 20).sum(axis=1)
    print(has_ternary_logic(), same, (index.within_radius(queries, 20)[0] == counts).all())"""


@pytest.mark.slow
def test_processors_without_avx512_give_the_same_answers(tmp_path):
    assert (
        run_python(GENERIC, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="+avx2,+popcnt", NUMBA_CACHE_DIR=str(tmp_path))
        == "False True True"
    )


ONE_AFTER_THE_OTHER = """if True:
    import sys
    import numpy as np
    from skhash.codes import hamming_distances
    from skhash.neighbors._flat import FlatIndex
    rng = np.random.RandomState(0)
    for n_bytes in map(int, sys.argv[1:]):
        database, queries = (rng.randint(0, 256, (n, n_bytes)).astype(np.uint8) for n in (9000, 20))
        order = np.argsort(hamming_distances(queries, database), axis=1, kind='stable')[:, :30]
        print((FlatIndex(database).nearest(queries, 30)[1] == order).all())
    from skhash.neighbors._flat_kernels import nearest_in_blocks
    print(sum(nearest_in_blocks.stats.cache_misses.values()))"""


@pytest.mark.slow
def test_cached_loops_of_one_length_are_not_linked_into_those_of_another(tmp_path):
    """A process that compiled 32 bits and then loaded 64 bits from the cache of another process crashed."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    for lengths in (["8"], ["4", "8"], ["16", "8", "4"]):
        command = [sys.executable, "-c", ONE_AFTER_THE_OTHER, *lengths]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert done.stdout.split()[:-1] == ["True"] * len(lengths)


def test_a_second_process_takes_the_loops_from_the_cache(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", ONE_AFTER_THE_OTHER, "4"]
    misses = [
        subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()[-1]
        for _ in range(2)
    ]
    assert misses == ["1", "0"]


def search_in_worker(search, queries):
    return search.kneighbors(queries)[1]


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_processes_started_or_forked_after_a_search_give_the_same_answers(backend, monkeypatch):
    monkeypatch.setattr(_compiled, "SECONDS_TO_COMPILE", 0.0)
    rng = np.random.RandomState(0)
    search = HammingNearestNeighbors(3, n_jobs=2).fit(random_codes(rng, 5000, 8, 256))
    queries = random_codes(rng, 64, 8, 256)
    expected = search.kneighbors(queries)[1]
    np.testing.assert_array_equal(expected, expected_nearest(queries, search.codes_, 3)[1])
    with parallel_config(backend, n_jobs=2):
        for found in Parallel()(delayed(search_in_worker)(search, queries) for _ in range(4)):
            np.testing.assert_array_equal(found, expected)


def test_eight_threads_share_a_fitted_estimator_that_grows(monkeypatch):
    """Threads search while rows are added and removed; each sees a database that was whole at some time."""
    monkeypatch.setattr(_compiled, "SECONDS_TO_COMPILE", 0.0)
    rng = np.random.RandomState(0)
    database, queries = random_codes(rng, 4000, 8, 256), random_codes(rng, 24, 8, 256)
    search = HammingNearestNeighbors(5).fit(database)
    fixed = clone(search).fit(database)
    expected = expected_nearest(queries, database, 5)[1]

    def search_often(_):
        return all((fixed.kneighbors(queries)[1] == expected).all() for _ in range(50))

    def search_growing(_):
        return all(search.kneighbors(queries)[0].max() <= 64 for _ in range(50))

    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(task, i) for i in range(4) for task in (search_often, search_growing)]
        for start in range(0, 1000, 20):
            search.add(database[start : start + 20])
            search.remove(np.arange(start, start + 20))
        assert all(result.result() for result in results)
    rest = np.concatenate([database[1000:], database[:1000]])
    np.testing.assert_array_equal(search.codes_, rest)
    np.testing.assert_array_equal(search.ids_, np.arange(1000, 5000))
    rows = expected_nearest(queries, rest, 5)[1]
    np.testing.assert_array_equal(search.kneighbors(queries)[1], np.arange(1000, 5000)[rows])


def test_joblib_context_sets_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(_compiled, "SECONDS_TO_COMPILE", 0.0)
    started = []
    pool = _engine.ThreadPoolExecutor
    monkeypatch.setattr(
        _engine, "ThreadPoolExecutor", lambda n_threads: (started.append(n_threads), pool(n_threads))[1]
    )
    rng = np.random.RandomState(0)
    search = HammingNearestNeighbors(3).fit(random_codes(rng, 5000, 8, 256))
    queries = random_codes(rng, 40, 8, 256)
    expected = search.kneighbors(queries)[1]
    assert started == []
    with parallel_config(n_jobs=3):
        np.testing.assert_array_equal(search.kneighbors(queries)[1], expected)
    assert started == [3]
