"""Mergeable statistics against NumPy's two-pass formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from skhash.hashers._statistics import RunningStatistics


def naive(X):
    centred = X - X.mean(axis=0)
    return X.mean(axis=0), centred.T @ centred


@pytest.mark.parametrize("block_rows", [1, 7, 4096])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_blocks_of_any_size_against_two_passes(monkeypatch, block_rows, container):
    monkeypatch.setattr("skhash.hashers._statistics._BLOCK_ROWS", block_rows)
    X = np.random.RandomState(0).randn(50, 6) * [1, 2, 3, 4, 5, 6] + 10
    statistics = RunningStatistics.from_rows(container(X), with_scatter=True)
    mean, scatter = naive(X)
    assert statistics.n_samples == 50
    np.testing.assert_allclose(statistics.mean, mean)
    np.testing.assert_allclose(statistics.scatter, scatter, atol=1e-9)


@given(st.lists(st.integers(1, 20), min_size=2, max_size=5), st.integers(0, 99))
def test_merging_parts_gives_the_whole(sizes, seed):
    parts = [np.random.RandomState(seed + i).randn(size, 3) + i for i, size in enumerate(sizes)]
    merged = RunningStatistics.from_rows(parts[0], with_scatter=True)
    for part in parts[1:]:
        merged = merged.merge(RunningStatistics.from_rows(part, with_scatter=True))
    mean, scatter = naive(np.concatenate(parts))
    assert merged.n_samples == sum(sizes)
    np.testing.assert_allclose(merged.mean, mean, atol=1e-12)
    np.testing.assert_allclose(merged.scatter, scatter, atol=1e-9)


def test_large_offset_in_float32_keeps_the_digits_of_the_scatter():
    """sum(x x') - n m m' would lose every digit of a variance of 1 around a mean of 1e6 in float32."""
    rng = np.random.RandomState(0)
    X = (1e6 + rng.randint(-2, 3, size=(1000, 4))).astype(np.float32)
    _, scatter = naive(X.astype(np.float64))
    np.testing.assert_allclose(RunningStatistics.from_rows(X, with_scatter=True).scatter, scatter, rtol=1e-9)


def test_without_scatter_only_the_mean_is_kept():
    X = np.arange(12.0).reshape(4, 3)
    statistics = RunningStatistics.from_rows(X, with_scatter=False)
    assert statistics.scatter is None
    assert statistics.merge(statistics).scatter is None
    np.testing.assert_allclose(statistics.mean, [4.5, 5.5, 6.5])
