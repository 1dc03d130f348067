"""LSH against the law of random hyperplanes."""

import numpy as np
import pytest

from skhash import LSH
from skhash.codes import hamming_distances, unpack_codes


def around_mean(*points):
    """Rows whose mean is the origin: each point and its mirror image."""
    return np.array([*points, *(-np.asarray(point) for point in points)], dtype=float)


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.parametrize("angle", [0.1, 1.0, 2.5])
def test_share_of_different_bits_is_angle_over_pi(orthogonal, angle):
    n_bits = 40_000
    X = around_mean([1.0, 0.0, 0.0], [np.cos(angle), np.sin(angle), 0.0])
    codes = LSH(n_bits, orthogonal=orthogonal, random_state=0).fit_transform(X)
    share = hamming_distances(codes[:1], codes[1:2])[0, 0] / n_bits
    expected = angle / np.pi
    assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / n_bits)


def test_projections_are_the_formula():
    rng = np.random.RandomState(0)
    X = rng.randn(20, 5) + 3
    hasher = LSH(7, random_state=1).fit(X)
    expected = [[np.dot(w, x - X.mean(axis=0)) for w in hasher.components_] for x in X]
    np.testing.assert_allclose(hasher.project(X), expected, atol=1e-12)


def test_super_bit_blocks_are_orthonormal():
    components = LSH(11, orthogonal=True, random_state=0).fit(np.random.RandomState(0).randn(10, 4)).components_
    assert components.shape == (11, 4)
    for block in (components[:4], components[4:8], components[8:]):
        np.testing.assert_allclose(block @ block.T, np.eye(len(block)), atol=1e-12)


def test_super_bit_estimates_angles_with_less_variance():
    """Ji et al. 2012, theorem 2: the variance of the Hamming distance falls for angles up to pi / 2."""
    X = around_mean([1.0] + [0.0] * 7, [np.cos(1.0), np.sin(1.0)] + [0.0] * 6)
    distances = {}
    for orthogonal in (False, True):
        draws = [LSH(8, orthogonal=orthogonal, random_state=seed).fit_transform(X) for seed in range(500)]
        distances[orthogonal] = [hamming_distances(codes[:1], codes[1:2])[0, 0] for codes in draws]
    assert np.var(distances[True]) < 0.9 * np.var(distances[False])


def test_relu_features_give_balanced_bits_because_the_mean_is_subtracted():
    X = np.abs(np.random.RandomState(0).randn(2000, 16)) + 5
    bits = unpack_codes(LSH(64, random_state=0).fit_transform(X))
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.1


def test_more_chunks_move_the_mean_and_keep_the_hyperplanes():
    X = np.random.RandomState(0).randn(100, 6) + np.linspace(0, 5, 100)[:, None]
    hasher = LSH(9, random_state=np.random.RandomState(3)).partial_fit(X[:40])
    components = hasher.components_
    hasher.partial_fit(X[40:])
    np.testing.assert_array_equal(hasher.components_, components)
    np.testing.assert_allclose(hasher.mean_, X.mean(axis=0))
    assert hasher.statistics_.n_samples == 100


def test_any_number_of_bits_from_one_feature():
    assert LSH(100, random_state=0).fit_transform([[1.0], [2.0], [3.0]]).shape == (3, 13)
