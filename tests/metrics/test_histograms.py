"""Histograms by NumPy and by compiled loops: both against a double loop, and when which of them runs."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import parallel_config
from numpy.testing import assert_array_equal

from skhash import _compiled
from skhash.metrics import _histograms, mean_average_precision
from skhash.metrics._histograms import CompiledHistograms, NumpyHistograms, make_histograms
from skhash.metrics._labels import relevance_from_labels
from skhash.metrics._rankings import Rankings

BOTH = pytest.mark.parametrize("histograms", [NumpyHistograms, CompiledHistograms])


@pytest.fixture(autouse=True)
def needs_numba(request):
    if "Compiled" in request.node.name:
        pytest.importorskip("numba", reason="the loops are compiled by numba")


def naive_counts(query_codes, database_codes, levels, n_levels, *, leave_one_out=False):
    counts = np.zeros((len(query_codes), n_levels, 8 * query_codes.shape[1] + 1), dtype=int)
    for i, query in enumerate(query_codes.tolist()):
        for j, item in enumerate(database_codes.tolist()):
            if not (leave_one_out and i == j):
                distance = sum((a ^ b).bit_count() for a, b in zip(query, item, strict=True))
                counts[i, levels[i][j], distance] += 1
    return counts


def naive_levels(query_labels, database_labels):
    """Shared labels of rows of indicators, or whether classes are equal."""
    if np.ndim(query_labels) == 1:
        return [[int(a == b) for b in database_labels] for a in query_labels]
    return [[sum(int(a and b) for a, b in zip(x, y, strict=True)) for y in database_labels] for x in query_labels]


@st.composite
def problems(draw):
    """Codes with ties and duplicates, and labels, among them classes and indicators that one side lacks."""
    n_bytes, n_labels = draw(st.integers(1, 40)), draw(st.sampled_from([None, 2, 9, 70]))
    n_queries, n_database = draw(st.integers(1, 5)), draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_values, n_distinct = draw(st.sampled_from([1, 2, 256])), draw(st.integers(1, 9))
    distinct = rng.integers(0, n_values, (n_distinct, n_bytes), dtype=np.uint8)
    sides = []
    for n in (n_queries, n_database):
        codes = distinct[rng.integers(0, n_distinct, n)]
        if n_labels is None:
            sides.append((codes, rng.integers(0, 4, n)))
        else:
            sides.append((codes, (rng.random((n, n_labels)) < rng.choice([0.0, 0.1, 0.9])).astype(int)))
    return sides


@BOTH
@settings(max_examples=150, deadline=None)
@given(problem=problems())
def test_counts_equal_a_double_loop(histograms, problem):
    (query_codes, query_labels), (database_codes, database_labels) = problem
    relevance = relevance_from_labels(query_labels, database_labels, len(query_codes), len(database_codes))
    counted = histograms(query_codes, database_codes, relevance)
    levels = naive_levels(query_labels, database_labels)
    expected = naive_counts(query_codes, database_codes, levels, relevance.n_levels)
    assert_array_equal(counted.count(slice(0, len(query_codes))), expected)
    assert_array_equal(counted.count(slice(len(query_codes) - 1, len(query_codes))), expected[-1:])
    assert counted.count(slice(0, 1)).dtype == np.int64


@BOTH
@settings(max_examples=50, deadline=None)
@given(problem=problems())
def test_each_item_is_left_out_of_its_own_counts(histograms, problem):
    codes, labels = problem[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skhash.metrics._rankings.make_histograms", histograms)
        rankings = Rankings("metric", codes, None, labels, None)
        counts = np.concatenate(list(rankings.blocks()))
    levels = naive_levels(labels, labels)
    assert_array_equal(counts, naive_counts(codes, codes, levels, counts.shape[1], leave_one_out=True))


@pytest.mark.parametrize("n_labels", [None, 5, 300])
@pytest.mark.parametrize(
    ("n_bytes", "n_database"),
    [(1, 70_000), (8, 65_536), (8, 65_537), (3, 511), (16, 512), (31, 8192), (32, 8193), (40, 20_000), (200, 600)],
)
def test_compiled_loops_over_several_blocks(n_bytes, n_database, n_labels):
    """Blocks of 512 items come in groups of 16, and 8 groups at once: classes end anywhere, the last block is short."""
    pytest.importorskip("numba", reason="the loops are compiled by numba")
    rng = np.random.default_rng(n_bytes)
    query_codes, database_codes = (rng.integers(0, 256, (n, n_bytes), dtype=np.uint8) for n in (5, n_database))
    if n_labels is None:
        query_labels, database_labels = np.array([0, 2, 9, 3, 3]), rng.integers(0, 4, n_database)
        levels = query_labels[:, None] == database_labels
    else:
        # As many labels as there are counters for.
        n_labels = min(n_labels, 2 ** (15 - (8 * n_bytes).bit_length()) - 1)
        query_labels, database_labels = (rng.random((n, n_labels)) < 0.95 for n in (5, n_database))
        levels = query_labels.astype(int) @ database_labels.T.astype(int)
    relevance = relevance_from_labels(query_labels, database_labels, 5, n_database)
    counts = CompiledHistograms(query_codes, database_codes, relevance).count(slice(0, 5))
    for query in range(5):
        distances = np.unpackbits(query_codes[query] ^ database_codes, axis=1).sum(axis=1, dtype=int)
        expected = np.zeros_like(counts[query])
        np.add.at(expected, (levels[query].astype(int), distances), 1)
        assert_array_equal(counts[query], expected)


@BOTH
def test_labels_that_no_pair_shares(histograms):
    """Two labels a query, two others an item: three levels, of which only the lowest occurs."""
    query_labels, database_labels = np.zeros((2, 16), dtype=int), np.zeros((3, 16), dtype=int)
    query_labels[:, :2] = database_labels[:, 8:10] = 1
    query_codes, database_codes = np.array([[0], [1]], dtype=np.uint8), np.array([[0], [1], [3]], dtype=np.uint8)
    relevance = relevance_from_labels(query_labels, database_labels, 2, 3)
    counts = histograms(query_codes, database_codes, relevance).count(slice(0, 2))
    assert counts.shape == (2, 3, 9)
    assert counts[:, 0, :3].tolist() == [[1, 1, 1], [1, 2, 0]]
    assert counts.sum() == 6


def test_compiled_loops_on_threads_count_the_same():
    pytest.importorskip("numba", reason="the loops are compiled by numba")
    rng = np.random.default_rng(0)
    query_codes, database_codes = (rng.integers(0, 256, (n, 3), dtype=np.uint8) for n in (50, 200))
    query_labels, database_labels = rng.integers(0, 3, 50), rng.integers(0, 3, 200)
    relevance = relevance_from_labels(query_labels, database_labels, 50, 200)
    expected = naive_counts(query_codes, database_codes, naive_levels(query_labels, database_labels), 2)
    counted = CompiledHistograms(query_codes, database_codes, relevance)
    for n_jobs in (2, 3, 20):
        with parallel_config(n_jobs=n_jobs, backend="threading"):
            assert_array_equal(counted.count(slice(0, 50)), expected)
            assert_array_equal(counted.count(slice(48, 50)), expected[48:])


def test_no_layout_of_arrays_is_compiled_again():
    """Numba compiles a function for each kind of array: read-only, not contiguous, of one row, without columns."""
    pytest.importorskip("numba", reason="the loops are compiled by numba")
    from skhash.metrics._histogram_kernels import add_histograms

    rng = np.random.default_rng(0)
    for n_bytes, n_labels in [(1, None), (4, None), (4, 2), (40, 70)]:
        codes = rng.integers(0, 256, (20, n_bytes), dtype=np.uint8)
        labels = rng.integers(0, 3, 20) if n_labels is None else rng.random((20, n_labels)) < 0.5
        read_only = codes.copy()
        read_only.setflags(write=False)
        for some in (codes, read_only, np.asfortranarray(codes), codes[::2], codes[:1]):
            relevance = relevance_from_labels(labels[: len(some)], labels, len(some), 20)
            counts = CompiledHistograms(some, codes, relevance).count(slice(0, len(some)))
            assert (counts.sum(axis=(1, 2)) == 20).all()
    assert len(add_histograms.signatures) == 1


def relevance_of(n_queries, n_database):
    return relevance_from_labels(np.zeros(n_queries), np.zeros(n_database), n_queries, n_database)


def codes_of(n, n_bytes=1):
    return np.zeros((n, n_bytes), dtype=np.uint8)


@pytest.fixture
def nothing_compiled(monkeypatch):
    monkeypatch.setattr(_histograms, "_is_compiled", lambda: False)
    monkeypatch.setattr(_histograms, "_break_even", _compiled.BreakEven())


@pytest.mark.usefixtures("nothing_compiled")
def test_numpy_counts_until_compiling_would_have_paid_off(monkeypatch):
    pytest.importorskip("numba", reason="the loops are compiled by numba")
    problem = (codes_of(100), codes_of(1000), relevance_of(100, 1000))
    # 100 000 pairs take NumPy about a millisecond.
    monkeypatch.setattr(_compiled, "SECONDS_TO_COMPILE", 2.5e-3)
    kinds = [type(make_histograms(*problem)) for _ in range(4)]
    assert kinds == [NumpyHistograms, NumpyHistograms, CompiledHistograms, CompiledHistograms]


@pytest.mark.usefixtures("nothing_compiled")
def test_few_queries_and_very_many_levels_are_left_to_numpy(monkeypatch):
    pytest.importorskip("numba", reason="the loops are compiled by numba")
    monkeypatch.setattr(_compiled, "SECONDS_TO_COMPILE", 0.0)
    assert type(make_histograms(codes_of(15), codes_of(1000), relevance_of(15, 1000))) is NumpyHistograms
    # 1025 distances have 11 digits, and 17 levels have 5.
    indicators = np.ones((16, 16), dtype=int)
    for n_labels, kind in [(15, CompiledHistograms), (16, NumpyHistograms)]:
        some = indicators[:, :n_labels]
        relevance = relevance_from_labels(some, some, 16, 16)
        assert type(make_histograms(codes_of(16, 128), codes_of(16, 128), relevance)) is kind


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    ).stdout.strip()


def test_small_evaluations_do_not_load_numba():
    code = """if True:
        import sys, numpy as np
        from skhash.metrics import mean_average_precision
        rng = np.random.default_rng(0)
        queries, database = (rng.integers(0, 256, (n, 4), dtype=np.uint8) for n in (200, 2000))
        mean_average_precision(queries, database, np.arange(200) % 5, np.arange(2000) % 5)
        print('numba' in sys.modules)"""
    assert run_python(code) == "False"


def test_metrics_answer_without_numba():
    code = """if True:
        import sys
        sys.modules['numba'] = None
        import importlib.util
        find_spec = importlib.util.find_spec
        importlib.util.find_spec = lambda name: None if name == 'numba' else find_spec(name)
        from skhash import _compiled
        from skhash.metrics import mean_average_precision
        _compiled.SECONDS_TO_COMPILE = 0.0
        labels = ['cat', 'dog'] * 8
        print(mean_average_precision([[0], [255]] * 8, None, labels))"""
    assert run_python(code) == "1.0"


@pytest.mark.slow
def test_processors_without_avx512_count_the_same(tmp_path):
    pytest.importorskip("numba", reason="the loops are compiled by numba")
    code = """if True:
        import numpy as np
        from skhash.metrics._histograms import CompiledHistograms
        from skhash.metrics._labels import relevance_from_labels
        rng = np.random.default_rng(0)
        queries, database = (rng.integers(0, 256, (n, 8), dtype=np.uint8) for n in (6, 9000))
        labels = np.arange(6), np.arange(9000) % 7
        relevance = relevance_from_labels(*labels, 6, 9000)
        counts = CompiledHistograms(queries, database, relevance).count(slice(0, 6))
        expected = np.zeros_like(counts)
        distances = np.unpackbits(queries[:, None] ^ database, axis=2).sum(axis=2)
        levels = (labels[0][:, None] == labels[1]).astype(int)
        np.add.at(expected, (np.arange(6)[:, None], levels, distances), 1)
        print((counts == expected).all())"""
    processor = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+popcnt"}
    assert run_python(code, NUMBA_CACHE_DIR=str(tmp_path), **processor) == "True"


@pytest.mark.usefixtures("nothing_compiled")
def test_scores_do_not_depend_on_what_counts(monkeypatch):
    pytest.importorskip("numba", reason="the loops are compiled by numba")
    rng = np.random.default_rng(0)
    query_codes, database_codes = (rng.integers(0, 4, (n, 9), dtype=np.uint8) for n in (40, 300))
    query_labels, database_labels = rng.integers(0, 5, 40), rng.integers(0, 5, 300)
    data = (query_codes, database_codes, query_labels, database_labels)
    monkeypatch.setattr(_compiled, "SECONDS_TO_COMPILE", float("inf"))
    by_numpy = mean_average_precision(*data, return_per_query=True)
    monkeypatch.setattr(_compiled, "SECONDS_TO_COMPILE", 0.0)
    compiled = mean_average_precision(*data, return_per_query=True)
    assert by_numpy[0] == compiled[0]
    assert_array_equal(by_numpy[1], compiled[1])
