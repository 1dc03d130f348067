"""Multi-index hashing against a stable argsort of all distances; its budget, its size, the prediction of its work."""

import itertools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba", reason="the loops are compiled by numba")

from skhash.codes import hamming_distances
from skhash.neighbors import _multi_index, _multi_index_kernels
from skhash.neighbors._multi_index import MultiIndex, predict_seconds, worthwhile


def random_codes(rng, n, n_bytes, n_values=256):
    return rng.integers(0, n_values, (n, n_bytes), dtype=np.uint8)


def clustered_codes(rng, n, n_bytes, n_clusters=200, flip_probability=0.04):
    """Codes around random centres, of which each bit is flipped now and then."""
    centers = random_codes(np.random.default_rng(0), n_clusters, n_bytes)
    flips = np.packbits(rng.random((n, 8 * n_bytes), dtype=np.float32) < flip_probability, axis=1)
    return centers[rng.integers(0, n_clusters, n)] ^ flips


def check_nearest(index, queries, database, k, budget=None):
    """Compare with a stable argsort; what was not finished must be zeros. Returns what was finished."""
    distances, positions, finished = index.nearest(queries, k, budget)
    everything = hamming_distances(queries, database)
    order = np.argsort(everything, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(positions, np.where(finished[:, None], order, 0))
    expected = np.take_along_axis(everything, order, axis=1)
    np.testing.assert_array_equal(distances, np.where(finished[:, None], expected, 0))
    assert (distances.dtype, positions.dtype, finished.dtype) == (np.int32, np.int64, bool)
    return finished


def check_within_radius(index, queries, database, radius, budget=None):
    counts, distances, positions, finished = index.within_radius(queries, radius, budget)
    assert (counts.dtype, distances.dtype, positions.dtype) == (np.int64, np.int32, np.int64)
    stops = np.cumsum(counts)
    assert len(distances) == len(positions) == (stops[-1] if len(stops) else 0)
    for query, row in enumerate(hamming_distances(queries, database)):
        order = [i for i in np.argsort(row, kind="stable") if row[i] <= radius and finished[query]]
        own = slice(stops[query] - counts[query], stops[query])
        assert positions[own].tolist() == order
        assert distances[own].tolist() == row[order].tolist()
    return finished


@st.composite
def searches(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**31 - 1)))
    n_bytes = draw(st.sampled_from([1, 2, 3, 4, 5, 8, 9, 12, 16, 23, 24, 32, 33, 64]))
    n_values = draw(st.sampled_from([1, 2, 3, 256]))
    n_database = draw(st.sampled_from([1, 2, 3, 10, 100, 1000, 5000]))
    database = random_codes(rng, n_database, n_bytes, n_values)
    kind = draw(st.sampled_from(["as they are", "duplicates", "near one another"]))
    if kind == "duplicates":
        database = database[rng.integers(0, max(1, n_database // 20), n_database)]
    if kind == "near one another":
        database = clustered_codes(rng, n_database, n_bytes, n_clusters=3)
    queries = random_codes(rng, draw(st.integers(1, 5)), n_bytes, n_values)
    queries[0] = database[rng.integers(n_database)]
    return queries, database, draw(st.sampled_from([1, 2, 10, 300, n_database]))


@settings(max_examples=150, deadline=None)
@given(searches())
def test_nearest_equals_stable_argsort(search):
    queries, database, k = search
    assert check_nearest(MultiIndex(database), queries, database, min(k, len(database))).all()


@settings(max_examples=100, deadline=None)
@given(searches(), st.sampled_from([0, 1, 2.5, 5, 13, 40, math.inf]))
def test_within_radius_equals_stable_argsort(search, radius):
    queries, database, _ = search
    assert check_within_radius(MultiIndex(database), queries, database, radius).all()


@settings(max_examples=60, deadline=None)
@given(searches(), st.floats(0, 1e-4))
def test_whatever_is_finished_within_a_budget_is_exact(search, budget):
    queries, database, k = search
    index = MultiIndex(database)
    check_nearest(index, queries, database, min(k, len(database)), budget)
    check_within_radius(index, queries, database, 3, budget)


@pytest.mark.parametrize("n_bytes", [8, 12, 16, 32])
def test_many_codes_are_found_through_the_tables(n_bytes):
    """Enough codes that no search below gives up the tables for a comparison with all codes."""
    rng = np.random.default_rng(n_bytes)
    database, queries = clustered_codes(rng, 40_000, n_bytes), clustered_codes(rng, 30, n_bytes)
    queries[:5] = database[:5]
    index = MultiIndex(database)
    # Comparing all codes costs more than this.
    budget = len(database) * _multi_index_kernels._SECONDS_PER_SCANNED
    for k in (1, 10, 60):
        assert check_nearest(index, queries, database, k, budget).mean() > 0.9
    assert check_within_radius(index, queries, database, n_bytes // 4, budget).all()


def test_equal_codes_come_in_order_of_position_and_with_bounded_work():
    database = np.full((100_000, 8), 7, np.uint8)
    index = MultiIndex(database)
    for k in (1, 2000, 100_000):
        distances, positions, finished = index.nearest(database[:2], k)
        np.testing.assert_array_equal(positions, np.tile(np.arange(k), (2, 1)))
        assert not distances.any()
        assert finished.all()
    assert not index.nearest(database[:2], 1, budget=1e-4)[2].any()
    counts, distances, positions, _ = index.within_radius(database[:1], 0)
    assert counts.tolist() == [100_000]
    np.testing.assert_array_equal(positions, np.arange(100_000))
    assert not distances.any()


def test_ties_are_decided_after_many_of_them_were_dropped():
    """Far more codes lie at the last distance than there is room for, in all orders of the tables."""
    rng = np.random.default_rng(0)
    database = np.zeros((30_000, 8), np.uint8)
    flipped = rng.integers(0, 64, len(database))
    database[np.arange(len(database)), flipped // 8] = 1 << (flipped % 8)
    check_nearest(MultiIndex(database), np.zeros((1, 8), np.uint8), database, 5)
    check_nearest(MultiIndex(database), np.zeros((1, 8), np.uint8), database, 3000)


def test_queries_beyond_the_budget_are_abandoned_and_the_others_answered():
    rng = np.random.default_rng(1)
    database = clustered_codes(rng, 30_000, 8)
    near, far = clustered_codes(rng, 20, 8), random_codes(rng, 20, 8)
    queries = np.stack([near, far], axis=1).reshape(-1, 8)
    index = MultiIndex(database)
    assert check_nearest(index, queries, database, 10, budget=3e-5).tolist() == [True, False] * 20
    assert check_within_radius(index, queries, database, 1, budget=3e-5).all()
    assert not check_nearest(index, queries, database, 10, budget=0.0).any()
    assert not check_within_radius(index, queries, database, 1, budget=0.0).any()
    assert check_nearest(index, queries, database, 10, budget=math.inf).all()


def test_larger_budgets_finish_the_same_queries_and_more():
    rng = np.random.default_rng(2)
    database = clustered_codes(rng, 20_000, 8, flip_probability=0.1)
    queries, index = clustered_codes(rng, 50, 8, flip_probability=0.1), MultiIndex(database)
    finished = [index.nearest(queries, 20, budget)[2] for budget in np.geomspace(1e-6, 1e-2, 12)]
    for smaller, larger in itertools.pairwise(finished):
        assert (smaller <= larger).all()
    assert not finished[0].any()
    assert finished[-1].all()


def test_no_queries():
    index = MultiIndex(np.zeros((3, 8), np.uint8))
    nothing = np.empty((0, 8), np.uint8)
    assert [array.shape for array in index.nearest(nothing, 2)] == [(0, 2), (0, 2), (0,)]
    assert [array.shape for array in index.within_radius(nothing, 2)] == [(0,)] * 4


@pytest.mark.parametrize(("n_bytes", "length"), [(1, 8), (8, 10), (5, 13), (16, 17)])
def test_tables_list_the_codes_of_every_value_in_order(n_bytes, length):
    """Every value of one substring, looked up as a search does it, against a dictionary; length 13 crosses words."""
    rng = np.random.default_rng(length)
    codes = clustered_codes(rng, 3000, n_bytes)
    start = max(0, 60 - length // 2) if n_bytes > 8 else 0
    bits = np.unpackbits(codes, axis=1, bitorder="little")[:, start : start + length]
    values = bits @ (1 << np.arange(length))
    words = _multi_index._to_rows_of_words(codes)
    directory, n_before = np.zeros(2**length // 64 or 1, np.uint64), np.empty(2**length // 64 or 1, np.int32)
    entries = np.empty(len(codes), np.int32)
    starts = _multi_index.build_table(words.ravel(), words.shape[1], start, length, directory, n_before, entries)
    occurs = np.unpackbits(directory.astype("<u8").view(np.uint8), bitorder="little")
    assert np.flatnonzero(occurs).tolist() == sorted(set(values.tolist()))
    for value in set(values.tolist()):
        group, bit = divmod(value, 64)
        rank = n_before[group] + np.count_nonzero(occurs[64 * group : 64 * group + bit])
        assert entries[starts[rank] : starts[rank + 1]].tolist() == np.flatnonzero(values == value).tolist()
    assert starts[-1] == len(codes)


@pytest.mark.parametrize(("n_samples", "n_bytes"), [(200_000, 8), (1_000_000, 8), (300_000, 12), (400_000, 16)])
@pytest.mark.parametrize("make", [clustered_codes, random_codes])
def test_index_takes_at_most_four_times_the_bytes_of_the_codes(n_samples, n_bytes, make):
    codes = make(np.random.default_rng(0), n_samples, n_bytes)
    assert MultiIndex(codes).nbytes <= 4 * codes.nbytes


@pytest.mark.parametrize(
    ("n_samples", "n_bytes", "n_tables"),
    # The length of a substring is about log2 of the number of codes, as in the paper.
    [(10**6, 8, 3), (10**7, 8, 3), (10**8, 8, 3), (2 * 10**5, 8, 4), (10**7, 16, 6), (10**6, 32, 12), (1, 8, 8)],
)
def test_number_of_tables(n_samples, n_bytes, n_tables):
    assert _multi_index._n_tables(n_samples, n_bytes) == n_tables


def counted_work(database, query, kth_distance, n_tables):
    """Probes, candidates and near candidates of a search, by the rule of the paper, code by code."""
    length = 8 * database.shape[1] // n_tables
    different = np.unpackbits(database ^ query, axis=1, bitorder="little")
    distances = different.sum(axis=1)
    probes = candidates = near = 0
    for step in range(kth_distance + 1):
        n_flipped, table = divmod(step, n_tables)
        flipped = different[:, table * length : (table + 1) * length].sum(axis=1)
        probes += sum(1 for _ in itertools.combinations(range(length), n_flipped))
        candidates += (flipped == n_flipped).sum()
        near += ((flipped == n_flipped) & (distances <= kth_distance)).sum()
    return probes, candidates, near


@pytest.mark.parametrize("n_bytes", [8, 12, 16])
def test_prediction_counts_what_a_search_looks_at(n_bytes):
    rng = np.random.default_rng(0)
    database, queries = clustered_codes(rng, 20_000, n_bytes), clustered_codes(rng, 6, n_bytes)
    kth_distances = np.sort(hamming_distances(queries, database), axis=1)[:, 9]
    seconds = predict_seconds(database, len(database), queries, kth_distances)
    per_candidate = (
        _multi_index_kernels.SECONDS_PER_CANDIDATE + -(-n_bytes // 8) * _multi_index_kernels.SECONDS_PER_WORD
    )
    for query, kth_distance, predicted in zip(queries, kth_distances, seconds, strict=True):
        probes, candidates, near = counted_work(database, query, kth_distance, MultiIndex(database).n_tables)
        expected = _multi_index_kernels.SECONDS_PER_QUERY + probes * _multi_index_kernels.SECONDS_PER_PROBE
        expected += candidates * per_candidate + near * _multi_index_kernels.SECONDS_PER_NEAR
        assert predicted == pytest.approx(expected)


def test_prediction_from_a_sample_is_close_to_that_from_all_codes(monkeypatch):
    rng = np.random.default_rng(0)
    database, queries = clustered_codes(rng, 300_000, 8), clustered_codes(rng, 30, 8)
    kth_distances = np.sort(hamming_distances(queries, database), axis=1)[:, 9]
    sampled = predict_seconds(database, len(database), queries, kth_distances).mean()
    monkeypatch.setattr(_multi_index, "_SAMPLED_CODES", len(database))
    assert sampled == pytest.approx(predict_seconds(database, len(database), queries, kth_distances).mean(), rel=0.1)


@pytest.mark.parametrize(("make", "expected"), [(clustered_codes, True), (random_codes, False)])
@pytest.mark.parametrize("n_bytes", [8, 16])
def test_worthwhile_for_clusters_but_not_for_random_codes(n_bytes, make, expected):
    rng = np.random.default_rng(0)
    database, queries = make(rng, 400_000, n_bytes), make(rng, 20, n_bytes)
    kth_distances = np.sort(hamming_distances(queries, database), axis=1)[:, 9]
    # 2.5 G words a second.
    assert worthwhile(database, len(database), queries, kth_distances, 400_000 * n_bytes / 8 / 2.5e9) is expected


def test_a_few_hard_queries_do_not_make_it_useless_and_many_do():
    rng = np.random.default_rng(0)
    database = clustered_codes(rng, 100_000, 8)
    queries = np.concatenate([clustered_codes(rng, 19, 8), random_codes(rng, 1, 8)])
    kth_distances = np.sort(hamming_distances(queries, database), axis=1)[:, 9]
    assert worthwhile(database, len(database), queries, kth_distances, 1e-4)
    assert not worthwhile(database, len(database), queries[15:], kth_distances[15:], 1e-4)


def test_arrays_of_other_kinds_are_searched_by_the_same_compiled_loops():
    rng = np.random.default_rng(0)
    database, queries = random_codes(rng, 1000, 16), random_codes(rng, 9, 16)
    read_only = queries.copy()
    read_only.flags.writeable = False
    unaligned = np.empty(queries.nbytes + 1, np.uint8)[1:].reshape(queries.shape)
    unaligned[:] = queries
    fixed = database.copy()
    fixed.flags.writeable = False
    MultiIndex(database).nearest(queries, 3)
    compiled = len(_multi_index_kernels.search_tables.signatures), len(_multi_index_kernels.build_table.signatures)
    for codes in (fixed, np.asfortranarray(database), np.repeat(database, 2, axis=0)[::2]):
        for these in (read_only, unaligned, np.asfortranarray(queries)):
            assert check_nearest(MultiIndex(codes), these, database, 3).all()
    assert compiled == (
        len(_multi_index_kernels.search_tables.signatures),
        len(_multi_index_kernels.build_table.signatures),
    )


def test_threads_share_an_index():
    rng = np.random.default_rng(0)
    database, queries = clustered_codes(rng, 20_000, 8), clustered_codes(rng, 400, 8)
    index = MultiIndex(database)
    expected = index.nearest(queries, 10)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda part: index.nearest(part, 10), np.array_split(queries, 40)))
    for ours, theirs in zip(zip(*parts, strict=True), expected, strict=True):
        np.testing.assert_array_equal(np.concatenate(ours), theirs)
