"""Rotations and components against their defining properties."""

import numpy as np
import pytest

from skhash.hashers._linear_algebra import (
    orthonormal_rows,
    principal_components,
    procrustes_rotation,
    random_rotation,
)
from skhash.hashers._statistics import RunningStatistics


def test_components_diagonalise_the_covariance():
    X = np.random.RandomState(0).randn(200, 8) * np.arange(1, 9)
    statistics = RunningStatistics.from_rows(X, with_scatter=True)
    components, variances = principal_components(statistics, 5)
    covariance = np.cov(X.T)
    np.testing.assert_allclose(components @ covariance @ components.T, np.diag(variances), atol=1e-10)
    np.testing.assert_allclose(variances, np.sort(np.linalg.eigvalsh(covariance))[::-1][:5])
    assert (components[np.arange(5), np.abs(components).argmax(axis=1)] > 0).all()


def test_orthonormal_rows_are_gram_schmidt():
    gaussian = np.random.RandomState(0).randn(4, 9)
    expected = []
    for row in gaussian:
        rest = row - sum((np.dot(row, done) * done for done in expected), np.zeros(9))
        expected.append(rest / np.linalg.norm(rest))
    np.testing.assert_allclose(orthonormal_rows(gaussian), expected, atol=1e-12)


def test_random_rotations_have_no_preferred_direction():
    """Under the Haar measure every entry has mean 0 and variance 1/n; QR without sign correction fails the mean."""
    draws = np.array([random_rotation(3, np.random.RandomState(seed)) for seed in range(2000)])
    np.testing.assert_allclose(draws @ draws.transpose(0, 2, 1), np.broadcast_to(np.eye(3), draws.shape), atol=1e-12)
    assert np.abs(draws.mean(axis=0)).max() < 5 * np.sqrt(1 / 3 / 2000)
    np.testing.assert_allclose(draws.var(axis=0), 1 / 3, atol=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_procrustes_beats_random_rotations(seed):
    rng = np.random.RandomState(seed)
    B, V = np.sign(rng.randn(30, 4)), rng.randn(30, 4)
    best = np.linalg.norm(B - V @ procrustes_rotation(B.T @ V))
    assert all(best <= np.linalg.norm(B - V @ random_rotation(4, rng)) for _ in range(200))
