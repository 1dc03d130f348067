"""IsotropicHash against the equation that its paper solves."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skhash import LSH, PCAH, IsotropicHash
from skhash.hashers._isotropic import _equalize
from skhash.hashers._linear_algebra import random_rotation
from skhash.metrics import mean_average_precision

DIGITS, LABELS = load_digits(return_X_y=True)


def test_two_unequal_variances_are_mixed_by_a_turn_of_45_degrees():
    """R' diag(3, 1) R has the diagonal (2, 2) exactly if cos^2 = sin^2."""
    rotation, errors = _equalize(np.array([3.0, 1.0]), random_rotation(2, np.random.RandomState(0)), 100)
    np.testing.assert_allclose(np.abs(rotation), np.sqrt(0.5), atol=1e-6)
    assert errors[-1] <= 1e-6


def plain_lift_and_projection(variances, rotation, n_turns):
    """Kong and Li 2012, algorithm 1, in distances of T and Z; eigenvalues are matched by sorting."""
    Z, distances = rotation.T @ np.diag(variances) @ rotation, []
    for _ in range(n_turns):
        T = Z - np.diag(np.diag(Z)) + np.mean(variances) * np.eye(len(variances))
        values, vectors = np.linalg.eigh(T)
        matched = np.empty(len(variances))
        matched[np.argsort(values)] = np.sort(variances)
        Z = vectors @ np.diag(matched) @ vectors.T
        distances.append(np.linalg.norm(np.diag(Z) - np.mean(variances)))
    return Z, distances


@pytest.mark.parametrize("n_bits", [2, 5, 24])
def test_equals_the_plain_loop(n_bits):
    hasher = IsotropicHash(n_bits, max_iter=6, random_state=3).fit(DIGITS)
    variances = PCAH(n_bits).fit(DIGITS).explained_variance_
    Z, distances = plain_lift_and_projection(
        variances, random_rotation(n_bits, np.random.RandomState(3)), hasher.n_iter_
    )
    np.testing.assert_allclose(hasher.rotation_.T @ np.diag(variances) @ hasher.rotation_, Z, rtol=1e-7, atol=1e-6)
    np.testing.assert_allclose(
        hasher.objectives_, np.array(distances) / (variances.mean() * np.sqrt(n_bits)), rtol=1e-6, atol=1e-12
    )


@pytest.mark.parametrize("n_bits", [1, 2, 16, 61])
@pytest.mark.parametrize("random_state", [0, 1])
def test_all_bits_have_the_same_variance(n_bits, random_state):
    hasher = IsotropicHash(n_bits, random_state=random_state).fit(DIGITS)
    variances = hasher.project(DIGITS).var(axis=0, ddof=1)
    np.testing.assert_allclose(variances, hasher.explained_variance_.mean(), rtol=1e-4)
    np.testing.assert_allclose(hasher.rotation_ @ hasher.rotation_.T, np.eye(n_bits), atol=1e-10)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("n_bits", [3, 32, 128])
def test_lift_and_projection_needs_no_second_solver(n_bits, power):
    """Spectra from flat to one that falls by 4 orders of magnitude."""
    variances = np.arange(1, n_bits + 1) ** -power
    rotation, errors = _equalize(variances, random_rotation(n_bits, np.random.RandomState(0)), 1000)
    assert errors[-1] <= 1e-6
    np.testing.assert_allclose(np.diag(rotation.T @ np.diag(variances) @ rotation), variances.mean(), rtol=1e-4)


def test_objective_never_rises():
    objectives = IsotropicHash(32, random_state=0).fit(DIGITS).objectives_
    assert len(objectives) > 2
    assert (np.diff(objectives) <= 1e-12).all()


def test_beats_random_hyperplanes():
    queries, database = DIGITS[:200], DIGITS[200:]
    scores = {}
    for cls in (IsotropicHash, LSH):
        hasher = cls(16, random_state=0).fit(database)
        scores[cls] = mean_average_precision(
            hasher.transform(queries), hasher.transform(database), LABELS[:200], LABELS[200:]
        )
    assert scores[IsotropicHash] > scores[LSH] + 0.05


@pytest.mark.parametrize("n_rows", [1, 20, 300])
def test_chunk_after_a_fit_keeps_variances_equal_and_changes_few_bits(n_rows):
    hasher = IsotropicHash(16, random_state=0).fit(DIGITS[:1000])
    before = hasher.transform(DIGITS)
    hasher.partial_fit(DIGITS[1000 : 1000 + n_rows])
    rows = DIGITS[: 1000 + n_rows]
    np.testing.assert_allclose(hasher.mean_, rows.mean(axis=0))
    np.testing.assert_allclose(hasher.project(rows).var(axis=0, ddof=1), hasher.explained_variance_.mean(), rtol=1e-4)
    changed = np.unpackbits(before ^ hasher.transform(DIGITS)).mean()
    # What moving the mean and the components by that many rows of 1 000 explains.
    assert changed < 0.03 + 0.4 * n_rows / 1000


def test_equal_variances_need_no_turn_beyond_the_first():
    X = np.vstack([np.eye(4), -np.eye(4)])
    hasher = IsotropicHash(4, random_state=0).fit(X)
    assert hasher.n_iter_ == 1


def test_more_bits_than_the_rank_are_refused():
    rng = np.random.RandomState(0)
    with pytest.raises(ValueError, match="IsotropicHash: n_bits=4 must be <= 3, the rank of the training data"):
        IsotropicHash(4).fit(rng.randn(50, 3) @ rng.randn(3, 10))


def test_variances_beyond_single_precision_are_refused_without_a_warning():
    rows = np.random.default_rng(0).integers(-8, 9, size=(30, 4)).astype(np.float32) * np.float32(1e30)
    for hasher in (IsotropicHash(2), PCAH(2)):
        with pytest.raises(ValueError, match="products overflow"):
            hasher.fit(rows)
