"""Inductive manifold hashing: the extension to rows, the eigenmaps, and cases with known answers."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skhash import LSH, InductiveManifoldHash
from skhash.metrics import mean_average_precision

DIGITS, LABELS = load_digits(return_X_y=True)


@pytest.mark.parametrize("embedding", ["spectral", "tsne"])
def test_a_row_is_the_weighted_mean_of_its_nearest_anchors(embedding):
    """Shen et al. 2013, equation 7, row by row."""
    hasher = InductiveManifoldHash(3, embedding=embedding, n_anchors=30, n_nearest=4, random_state=0).fit(DIGITS[:200])
    expected = np.zeros((50, 3))
    for i, row in enumerate(DIGITS[200:250]):
        distances = ((hasher.anchors_ - row) ** 2).sum(axis=1)
        nearest = np.argsort(distances, kind="stable")[:4]
        weights = np.exp(-distances[nearest] / (2 * hasher.width_**2))
        expected[i] = weights @ hasher.embedding_[nearest] / weights.sum()
    np.testing.assert_allclose(hasher.project(DIGITS[200:250]), expected, rtol=1e-6, atol=1e-9)
    spread = np.abs(hasher.project(DIGITS[:200])).max()
    np.testing.assert_allclose(hasher.project(DIGITS[:200]).mean(axis=0), 0, atol=1e-9 * spread)


def test_eigenmaps_of_a_circle_are_cosines():
    """On a ring of anchors, the smoothest two functions are a cosine and a sine of the angle."""
    angles = 2 * np.pi * np.arange(60) / 60
    X = 10 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    hasher = InductiveManifoldHash(2, n_anchors=60, n_nearest=1, random_state=0).fit(X)
    values = hasher.project(X)
    # Neighbours on the circle have neighbouring codes: each bit changes twice on the way around.
    assert ((values >= 0) != (np.roll(values, 1, axis=0) >= 0)).sum(axis=0).tolist() == [2, 2]


def test_two_far_clusters_differ_in_the_first_bit():
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.randn(60, 2), rng.randn(60, 2) + 1000])
    bits = InductiveManifoldHash(1, n_anchors=60, random_state=0).fit(X).project(X)[:, 0] >= 0
    assert len(set(bits[:60])) == len(set(bits[60:])) == 1
    assert bits[0] != bits[-1]


@pytest.mark.parametrize("embedding", ["spectral", "tsne"])
def test_ranks_digits_better_than_random_hyperplanes(embedding):
    def score(hasher):
        database = hasher.fit(DIGITS[:1200]).transform(DIGITS[:1200])
        return mean_average_precision(hasher.transform(DIGITS[1200:]), database, LABELS[1200:], LABELS[:1200])

    manifold = score(InductiveManifoldHash(12, embedding=embedding, n_anchors=100, random_state=0))
    assert manifold > score(LSH(12, random_state=0)) + 0.1


@pytest.mark.parametrize("embedding", ["spectral", "tsne"])
def test_few_rows_with_duplicates(embedding):
    X = np.repeat(DIGITS[:8], 2, axis=0)
    hasher = InductiveManifoldHash(3, embedding=embedding, random_state=0).fit(X)
    assert hasher.n_anchors_ < 16
    codes = hasher.transform(X)
    np.testing.assert_array_equal(codes[::2], codes[1::2])


def test_as_many_bits_as_anchors_are_refused():
    with pytest.raises(ValueError, match=r"InductiveManifoldHash: n_bits=10 must be <= 9, .*; use fewer") as raised:
        InductiveManifoldHash(10, n_anchors=10, random_state=0).fit(DIGITS[:100])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("name", "value"), [("embedding", "isomap"), ("n_anchors", 1), ("n_nearest", 0)])
def test_wrong_parameters_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter of InductiveManifoldHash"):
        InductiveManifoldHash(2, **{name: value}).fit(DIGITS)
