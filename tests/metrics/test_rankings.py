"""Counts of items by relevance and distance, against a double loop."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skhash.codes import pack_bits
from skhash.metrics import _histograms, _rankings
from skhash.metrics._rankings import Rankings


def naive_counts(query_bits, database_bits, levels, n_levels, n_distances, *, leave_one_out=False):
    counts = np.zeros((len(query_bits), n_levels, n_distances), dtype=int)
    for i, query in enumerate(query_bits):
        for j, item in enumerate(database_bits):
            if not (leave_one_out and i == j):
                counts[i, levels[i, j], (query != item).sum()] += 1
    return counts


def all_counts(rankings):
    return np.concatenate(list(rankings.blocks()))


@pytest.fixture(params=["default blocks", "tiny blocks"])
def blocks(request, monkeypatch):
    if request.param == "tiny blocks":
        monkeypatch.setattr(_histograms, "_BLOCK_PAIRS", 7)
        monkeypatch.setattr(_rankings, "_BLOCK_COUNTS", 400)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("n_bits", [1, 12, 64, 100])
@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("multilabel", [False, True])
def test_counts_equal_a_double_loop(n_bits, leave_one_out, multilabel):
    rng = np.random.default_rng(n_bits)
    query_bits, database_bits = rng.integers(0, 2, (11, n_bits)), rng.integers(0, 2, (30, n_bits))
    shape = (4,) if multilabel else ()
    query_labels, database_labels = rng.integers(0, 2, (11, *shape)), rng.integers(0, 2, (30, *shape))
    if leave_one_out:
        database_bits, database_labels = query_bits, query_labels
    if multilabel:
        levels = query_labels @ database_labels.T
    else:
        levels = (query_labels[:, None] == database_labels).astype(int)
    rankings = Rankings(
        "metric",
        pack_bits(query_bits),
        None if leave_one_out else pack_bits(database_bits),
        query_labels,
        None if leave_one_out else database_labels,
    )
    counts = all_counts(rankings)
    n_levels, n_distances = counts.shape[1:]
    assert n_distances == 8 * (-(-n_bits // 8)) + 1
    assert counts.sum() == 11 * rankings.n_database
    assert_array_equal(
        counts,
        naive_counts(query_bits, database_bits, levels, n_levels, n_distances, leave_one_out=leave_one_out),
    )


def test_memory_does_not_grow_with_queries_times_database():
    """A matrix of the 16 million distances would take 16 MB as bytes and 64 MB as int32."""
    rng = np.random.default_rng(0)
    codes, labels = rng.integers(0, 256, (4000, 8), dtype=np.uint8), rng.integers(0, 10, 4000)
    tracemalloc.start()
    try:
        n_counted = sum(counts.sum() for counts in Rankings("metric", codes, None, labels, None).blocks())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n_counted == 4000 * 3999
    assert peak < 10_000_000
