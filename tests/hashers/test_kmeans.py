"""K-means hashing against loops over the paper's formula, and cases with known answers."""

import itertools

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skhash import LSH, KMeansHash
from skhash.codes import unpack_codes
from skhash.hashers._kmeans import _deal_directions, _split_bits
from skhash.metrics import mean_average_precision

DIGITS, LABELS = load_digits(return_X_y=True)


def values_by_subspace(hasher, X):
    widths = [codebook.shape[1] for codebook in hasher.codebooks_]
    return np.split((X - hasher.mean_) @ hasher.components_.T, np.cumsum(widths)[:-1], axis=1)


def plain_projections(hasher, X):
    """Half the difference of squared distances to the best codewords with either bit, by loops."""
    columns = []
    for values, codebook in zip(values_by_subspace(hasher, X), hasher.codebooks_, strict=True):
        n_bits = int(np.log2(len(codebook)))
        codes = list(itertools.product([0, 1], repeat=n_bits))
        distances = ((values[:, None] - codebook) ** 2).sum(axis=2)
        for position in range(n_bits):
            ones = np.array([code[position] == 1 for code in codes])
            columns.append((distances[:, ~ones].min(axis=1) - distances[:, ones].min(axis=1)) / 2)
    return np.stack(columns, axis=1)


def plain_objective(values, codebook, affinity_weight, scale):
    """He, Wen and Sun 2013, equations 4 to 6, by loops."""
    codes = list(itertools.product([0, 1], repeat=int(np.log2(len(codebook)))))
    distances = ((values[:, None] - codebook) ** 2).sum(axis=2)
    shares = np.bincount(distances.argmin(axis=1), minlength=len(codebook)) / len(values)
    total = distances.min(axis=1).mean()
    for i, j in itertools.product(range(len(codebook)), repeat=2):
        hamming = sum(a != b for a, b in zip(codes[i], codes[j], strict=True))
        difference = np.linalg.norm(codebook[i] - codebook[j]) - scale * np.sqrt(hamming)
        total += affinity_weight * shares[i] * shares[j] * difference**2
    return total


@pytest.mark.parametrize(("n_bits", "bits_per_subspace"), [(8, 4), (7, 3), (5, 1), (3, 8)])
def test_projections_compare_the_nearest_codewords_with_either_bit(n_bits, bits_per_subspace):
    hasher = KMeansHash(n_bits, bits_per_subspace=bits_per_subspace, max_iter=3).fit(DIGITS[:500])
    projections = hasher.project(DIGITS[500:600])
    np.testing.assert_allclose(projections, plain_projections(hasher, DIGITS[500:600]), atol=1e-8)
    # The bits are those of the nearest codeword's position in binary.
    bits = unpack_codes(hasher.transform(DIGITS[500:600]))[:, :n_bits]
    start = 0
    for values, codebook in zip(values_by_subspace(hasher, DIGITS[500:600]), hasher.codebooks_, strict=True):
        nearest = ((values[:, None] - codebook) ** 2).sum(axis=2).argmin(axis=1)
        width = int(np.log2(len(codebook)))
        expected = [[int(digit) for digit in np.binary_repr(index, width)] for index in nearest]
        np.testing.assert_array_equal(bits[:, start : start + width], expected)
        start += width


@pytest.mark.parametrize("affinity_weight", [0, 10.0])
def test_objective_is_the_papers_and_never_rises(affinity_weight):
    hasher = KMeansHash(8, affinity_weight=affinity_weight, max_iter=20).fit(DIGITS)
    objectives = hasher.objectives_
    assert len(objectives) == hasher.n_iter_ + 1
    assert (np.diff(objectives) <= 0).all()
    assert objectives[-1] < 0.95 * objectives[0]
    expected = sum(
        plain_objective(values, codebook, affinity_weight, 2 * np.abs(values[:, :4]).mean())
        for values, codebook in zip(values_by_subspace(hasher, DIGITS), hasher.codebooks_, strict=True)
    )
    assert objectives[-1] == pytest.approx(expected, rel=1e-6)


def test_corners_of_a_rectangle_are_the_codewords():
    """Sides 6 and 2, one bit each: without affinity the codewords are the corners; the objective ends at 0."""
    X = np.array([[3.0, 1], [3, -1], [-3, 1], [-3, -1]])
    hasher = KMeansHash(2, affinity_weight=0).fit(X)
    assert hasher.objectives_[-1] == pytest.approx(0, abs=1e-12)
    # Half of 6^2 and of 2^2: the squared distance to the nearest corner across is 36 or 4, to the own one 0.
    np.testing.assert_allclose(np.abs(hasher.project(X)), [[18, 2]] * 4)
    assert len(np.unique(hasher.transform(X))) == 4


def test_corners_of_a_square_stay_where_they_are():
    """Codewords on a square fit Hamming distances too: sides 2 s / 2, diagonals sqrt(2) as long."""
    X = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]) @ np.diag([1, 1 - 1e-9])
    hasher = KMeansHash(2).fit(X)
    assert hasher.objectives_[-1] == pytest.approx(0, abs=1e-12)
    assert len(np.unique(hasher.transform(X))) == 4


def test_bits_are_split_evenly():
    assert _split_bits(12, 8) == [6, 6]
    assert _split_bits(13, 4) == [4, 3, 3, 3]
    assert _split_bits(3, 8) == [3]


def test_directions_are_dealt_to_the_smallest_product_with_room():
    """Variances 8, 4, 2, 1 over A and B: logs 3, 2, 1, 0 go to A, B, B (2 < 3), and the last one where room is."""
    first, second = _deal_directions(np.array([8.0, 4, 2, 1]), [1, 1])
    assert first.tolist() == [0, 3]
    assert second.tolist() == [1, 2]


def test_rows_beyond_max_samples_are_drawn_by_the_seed():
    first, again, other = (
        KMeansHash(8, max_iter=3, max_samples=300, random_state=seed).fit(DIGITS).transform(DIGITS)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_ranks_digits_better_than_random_hyperplanes():
    def score(hasher):
        database = hasher.fit(DIGITS[:1200]).transform(DIGITS[:1200])
        return mean_average_precision(hasher.transform(DIGITS[1200:]), database, LABELS[1200:], LABELS[:1200])

    assert score(KMeansHash(16)) > score(LSH(16, random_state=0)) + 0.1


def test_codewords_without_rows_do_no_harm():
    X = np.repeat(DIGITS[:10], 3, axis=0)
    hasher = KMeansHash(8, bits_per_subspace=8).fit(X)
    assert np.isfinite(hasher.codebooks_[0]).all()
    assert (np.diff(hasher.objectives_) <= 0).all()


@pytest.mark.parametrize(
    ("name", "value"), [("bits_per_subspace", 9), ("affinity_weight", -1.0), ("max_iter", 0), ("max_samples", 1)]
)
def test_wrong_parameters_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter of KMeansHash"):
        KMeansHash(2, **{name: value}).fit(DIGITS)
