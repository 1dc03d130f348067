"""Code centres: every claim about distances is checked over all pairs."""

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from skhash.centers import (
    NestedCodebook,
    additional_centers,
    balanced_centers,
    bernoulli_centers,
    extended_bch_centers,
    gilbert_varshamov_distance,
    hadamard_centers,
    maximal_distance_centers,
    minimum_distance,
    plotkin_distance,
)

FUNCTIONS = [bernoulli_centers, extended_bch_centers, hadamard_centers, maximal_distance_centers]


def naive_distances(centers):
    return [sum(a != b for a, b in zip(x, y, strict=True)) for x, y in itertools.combinations(centers.tolist(), 2)]


@pytest.mark.parametrize(("n_classes", "n_bits"), [(2, 1), (5, 3), (40, 16)])
def test_minimum_distance_is_that_of_the_closest_pair(n_classes, n_bits):
    centers = np.random.default_rng(0).choice([-1, 1], size=(n_classes, n_bits))
    assert minimum_distance(centers) == min(naive_distances(centers))


def test_minimum_distance_looks_across_blocks(monkeypatch):
    monkeypatch.setattr("skhash.centers._BLOCK_ROWS", 3)
    centers = hadamard_centers(8, 16, random_state=0)
    centers[7] = centers[0]
    centers[7, :3] *= -1
    assert minimum_distance(centers) == 3


def test_a_single_centre_is_as_far_as_it_gets():
    assert minimum_distance(np.ones((1, 12))) == 12


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("n_classes", "n_bits"), [(1, 8), (7, 16), (16, 8), (20, 32)])
def test_centres_are_codes_that_the_seed_decides(function, n_classes, n_bits):
    centers = function(n_classes, n_bits, random_state=3)
    assert centers.shape == (n_classes, n_bits)
    assert centers.dtype == np.int8
    assert set(np.unique(centers)) <= {-1, 1}
    assert np.array_equal(centers, function(n_classes, n_bits, random_state=3))


@pytest.mark.parametrize("n_bits", [2, 4, 16, 32])
def test_hadamard_rows_are_half_a_code_apart(n_bits):
    assert set(naive_distances(hadamard_centers(n_bits, n_bits, random_state=0))) == {n_bits // 2}
    both = naive_distances(hadamard_centers(2 * n_bits, n_bits, random_state=0))
    assert sorted(set(both)) == [n_bits // 2, n_bits]
    assert both.count(n_bits) == n_bits


def test_hadamard_with_one_bit():
    assert sorted(hadamard_centers(2, 1, random_state=0).tolist()) == [[-1], [1]]


def test_bernoulli_keeps_the_best_draw():
    draws = [minimum_distance(bernoulli_centers(10, 32, n_draws=n, random_state=0)) for n in (1, 2, 5, 20)]
    assert draws == sorted(draws)
    assert draws[-1] > draws[0]


@pytest.mark.parametrize(("n_classes", "n_bits"), [(2, 8), (4, 6), (10, 16), (16, 16), (100, 24), (60, 64)])
def test_greedy_centres_keep_the_guaranteed_distance(n_classes, n_bits):
    distance = gilbert_varshamov_distance(n_classes, n_bits)
    for seed in range(3):
        centers = maximal_distance_centers(n_classes, n_bits, random_state=seed)
        assert min(naive_distances(centers)) >= distance


@pytest.mark.parametrize(("n_classes", "n_bits"), [(10, 64), (100, 16), (3, 4), (1000, 32), (2**20, 24)])
def test_guaranteed_distance_is_the_largest_of_the_inequality(n_classes, n_bits):
    def holds(d):
        return n_classes * sum(math.comb(n_bits, i) for i in range(d)) <= 2 ** (n_bits - 1)

    distance = gilbert_varshamov_distance(n_classes, n_bits)
    assert holds(distance) or distance == 1
    assert not holds(distance + 1)


@given(n_bits=st.integers(1, 14), share=st.floats(0, 1), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_greedy_centres_differ_and_keep_the_guaranteed_distance_for_any_counts(n_bits, share, seed):
    n_classes = 1 + int(share * (min(2**n_bits, 60) - 1))
    centers = maximal_distance_centers(n_classes, n_bits, random_state=seed)
    assert centers.shape == (n_classes, n_bits)
    assert min(naive_distances(centers), default=n_bits) >= gilbert_varshamov_distance(n_classes, n_bits)


def test_greedy_centres_can_be_all_codes():
    centers = maximal_distance_centers(32, 5, random_state=0)
    assert len(np.unique(centers, axis=0)) == 32


# Table 9.1 of MacWilliams and Sloane, each code extended by a parity bit: all words of those that are small enough.
@pytest.mark.parametrize(
    ("n_bits", "k", "d"),
    [
        (8, 4, 4), (8, 1, 8),
        (16, 11, 4), (16, 7, 6), (16, 5, 8), (16, 1, 16),
        (32, 11, 12), (32, 6, 16), (32, 1, 32),
        (64, 10, 28), (64, 7, 32), (64, 1, 64),
        (128, 8, 64), (128, 1, 128),
    ],
)  # fmt: skip
def test_all_words_of_an_extended_bch_code_are_as_far_apart_as_published(n_bits, k, d):
    centers = extended_bch_centers(2**k, n_bits, random_state=0)
    assert len(np.unique(centers, axis=0)) == 2**k
    assert minimum_distance(centers) == d


# The classes just exceed the next smaller code, so the distance tells which code was chosen.
@pytest.mark.parametrize(
    ("n_classes", "n_bits", "d"),
    [
        (2**11 + 1, 32, 8), (200, 32, 12), (65, 32, 12), (2**10 + 1, 64, 24), (1000, 64, 28), (129, 64, 28),
        (2**8 + 1, 128, 56),
    ],
)  # fmt: skip
def test_some_words_of_an_extended_bch_code_are_at_least_as_far_apart(n_classes, n_bits, d):
    assert minimum_distance(extended_bch_centers(n_classes, n_bits, random_state=1)) >= d


@pytest.mark.parametrize(
    ("function", "n_classes", "n_bits", "message"),
    [
        (hadamard_centers, 4, 12, "hadamard_centers: n_bits=12 is not a power of two"),
        (hadamard_centers, 17, 8, "hadamard_centers: 17 classes exceed the 16 rows for n_bits=8"),
        (bernoulli_centers, 5, 2, "bernoulli_centers: 5 classes exceed the 4 codes of n_bits=2"),
        (maximal_distance_centers, 5, 2, "maximal_distance_centers: 5 classes exceed the 4 codes of n_bits=2"),
        (extended_bch_centers, 5, 48, "extended_bch_centers: n_bits=48 is not one of 8, 16, 32, 64, 128"),
        (extended_bch_centers, 17, 8, r"extended_bch_centers: 17 classes exceed the 2\*\*4 words for n_bits=8"),
        (hadamard_centers, 0, 8, "hadamard_centers: n_classes=0 must be >= 1"),
        (bernoulli_centers, 2, 0, "bernoulli_centers: n_bits=0 must be >= 1"),
    ],
)
def test_counts_that_do_not_fit_are_refused_in_one_line(function, n_classes, n_bits, message):
    with pytest.raises(ValueError, match=rf"^{message}") as error:
        function(n_classes, n_bits)
    assert "\n" not in str(error.value)


def test_balanced_centers_come_near_the_bound_of_plotkin():
    """Of 10 words of K bits, two are at most K 10 / 18 apart."""
    for n_bits, distance in [(32, 17), (64, 34), (128, 70)]:
        centers = balanced_centers(10, n_bits, random_state=0)
        assert distance <= minimum_distance(centers) <= n_bits * 10 // 18
        np.testing.assert_array_equal(centers.sum(axis=0), 0)


@pytest.mark.parametrize(
    ("n_classes", "n_bits", "distance"), [(1, 3, 3), (2, 5, 5), (7, 16, 8), (16, 16, 7), (50, 64, 28)]
)
def test_balanced_centers_of_other_sizes(n_classes, n_bits, distance):
    centers = balanced_centers(n_classes, n_bits, random_state=0)
    assert centers.shape == (n_classes, n_bits)
    assert set(np.unique(centers)) <= {-1, 1}
    assert minimum_distance(centers) >= distance
    np.testing.assert_array_equal(centers, balanced_centers(n_classes, n_bits, random_state=0))


def test_additional_centers_are_far_from_all():
    centers = balanced_centers(7, 32, random_state=0)
    further = additional_centers(centers, 3, random_state=0)
    assert further.shape == (3, 32)
    assert minimum_distance(np.vstack([centers, further])) >= 13


def test_no_further_centers_are_as_good_as_some():
    assert additional_centers([[1, 1, -1], [1, -1, 1]], 0).shape == (0, 3)
    with pytest.raises(ValueError, match=r"^additional_centers: n_new=-1 must be >= 0\.$"):
        additional_centers([[1, 1, -1], [1, -1, 1]], -1)


def test_more_further_centers_than_memory_are_refused_at_once():
    """They were made one by one until the memory was used up."""
    with pytest.raises(MemoryError, match="n_classes=1152921504606846978"):
        additional_centers(np.ones((2, 64)), 2**60)


def test_additional_centers_take_the_words_that_are_left():
    words = np.array([[1, 1], [1, -1], [-1, 1]])
    np.testing.assert_array_equal(additional_centers(words, 1, random_state=0), [[-1, -1]])
    with pytest.raises(ValueError, match="additional_centers: 5 classes exceed the 4 codes of n_bits=2"):
        additional_centers(words, 2)


@pytest.mark.parametrize(("n_classes", "n_bits"), [(2, 3), (3, 4), (4, 3), (5, 4), (4, 5), (6, 4)])
def test_plotkin_distance_is_not_exceeded_by_any_code(n_classes, n_bits):
    words = list(itertools.product([-1, 1], repeat=n_bits))
    # The first word can be fixed, as distances stay when bits change their sign in all words.
    best = max(
        min(naive_distances(np.array([words[0], *rest]))) for rest in itertools.combinations(words[1:], n_classes - 1)
    )
    assert best <= plotkin_distance(n_classes, n_bits)
    assert plotkin_distance(n_classes, n_bits) - best <= 1


def test_plotkin_distance_of_a_simplex_code_is_reached():
    """Rows of a Hadamard matrix of order 8, without their first bit: all pairs differ in 4 of 7 bits."""
    assert set(naive_distances(scipy.linalg.hadamard(8)[:, 1:])) == {4}
    assert plotkin_distance(8, 7) == 4


@pytest.mark.parametrize(("n_classes", "n_bits", "prefixes"), [(10, 64, (16, 32)), (3, 8, (2, 5)), (30, 24, (16,))])
def test_nested_codebook_states_the_distances_of_all_pairs(n_classes, n_bits, prefixes):
    codebook = NestedCodebook(n_classes, n_bits, prefixes=prefixes, random_state=1)
    assert codebook.prefixes == (*prefixes, n_bits)
    assert codebook.minimum_distances == {n: min(naive_distances(codebook.words[:, :n])) for n in codebook.prefixes}
    assert all(codebook.minimum_distances[n] <= codebook.bounds[n] for n in codebook.prefixes)


def test_nested_codebook_leaves_out_prefixes_beyond_its_length():
    assert NestedCodebook(4, 16, prefixes=(8, 16, 32)).prefixes == (8, 16)


def test_assignment_gives_similar_classes_near_words():
    """Two pairs of like classes, and four words in two near pairs, listed crosswise."""
    codebook = NestedCodebook(4, 8, prefixes=(), random_state=0)
    near = np.array([[1, 1, 1, 1, 1, 1, 1, 1], [-1, -1, -1, -1, -1, -1, -1, -1], [1, 1, 1, 1, 1, 1, 1, -1]])
    codebook.words = np.vstack([near, [-1, -1, -1, -1, -1, -1, 1, -1]]).astype(np.int8)
    words = codebook.assign(np.array([[1.0, 0.1], [1.0, 0.2], [-1.0, 0.1], [-1.0, 0.2]])).words
    distances = (words[:, None] != words).sum(axis=2)
    assert distances[0, 1] == distances[2, 3] == 1
    assert sorted(map(tuple, words)) == sorted(map(tuple, codebook.words))


def test_no_exchange_of_two_words_is_better_than_the_assignment():
    rng = np.random.default_rng(0)
    prototypes = rng.standard_normal((12, 5))
    unit = prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)

    def fit(words):
        """Sum over pairs of classes and prefixes, one product after the other."""
        total = 0.0
        for a in range(12):
            for b in range(12):
                for length in (16, 32, 64) if a != b else ():
                    total += unit[a] @ unit[b] * (words[a, :length].astype(float) @ words[b, :length]) / length
        return total

    words = NestedCodebook(12, random_state=0).assign(prototypes).words
    assigned = fit(words)
    for a in range(12):
        for b in range(a):
            exchanged = words.copy()
            exchanged[[a, b]] = words[[b, a]]
            assert fit(exchanged) <= assigned + 1e-9


def test_added_words_keep_those_before():
    codebook = NestedCodebook(10, random_state=0)
    words = codebook.words.copy()
    codebook.add(3, random_state=0)
    np.testing.assert_array_equal(codebook.words[:10], words)
    assert codebook.words.shape == (13, 64)
    assert codebook.minimum_distances == {n: min(naive_distances(codebook.words[:, :n])) for n in (16, 32, 64)}
    assert codebook.minimum_distances[64] >= 26


@pytest.mark.parametrize("prefixes", [(32, 16), (16, 16), (0, 16), (True, 16), (16.0, 32)])
def test_prefixes_have_to_ascend(prefixes):
    with pytest.raises(ValueError, match="must be different whole numbers >= 1, ascending"):
        NestedCodebook(4, prefixes=prefixes)


@pytest.mark.parametrize("prefixes", [16, None, "16"])
def test_prefixes_that_are_no_tuple_are_refused_in_one_line(prefixes):
    with pytest.raises(ValueError, match=rf"^NestedCodebook: prefixes={prefixes!r} is no tuple of lengths; pass one"):
        NestedCodebook(4, prefixes=prefixes)


def test_prefixes_of_an_array_are_plain_integers():
    codebook = NestedCodebook(4, 64, prefixes=np.array([8, 32]), random_state=0)
    assert [type(length) for length in codebook.prefixes] == [int, int, int]


@pytest.mark.parametrize("n_bits", [np.int32(32), np.int64(63), np.int64(64)])
def test_lengths_that_are_integers_of_numpy_do_not_overflow(n_bits):
    """2 to their power is 0 or negative in their own arithmetic."""
    assert gilbert_varshamov_distance(10, n_bits) == gilbert_varshamov_distance(10, int(n_bits))
    for search in (balanced_centers, bernoulli_centers, maximal_distance_centers):
        expected = search(10, int(n_bits), random_state=0)
        np.testing.assert_array_equal(search(10, n_bits, random_state=0), expected)


@pytest.mark.parametrize("value", [True, 2.0, "4", None, np.ones((2, 2))])
def test_counts_that_are_no_integers_are_refused_in_one_line(value):
    """They were compared with numbers, or counted as one."""
    for function in (hadamard_centers, bernoulli_centers, gilbert_varshamov_distance, plotkin_distance, NestedCodebook):
        for arguments in [(value, 8), (4, value)]:
            with pytest.raises(TypeError, match="must be an integer") as raised:
                function(*arguments)
            assert "\n" not in str(raised.value)


def test_numbers_of_bits_beyond_memory_are_refused_at_once():
    """Two to the power of so many bits was computed first."""
    for function in (balanced_centers, bernoulli_centers, maximal_distance_centers, gilbert_varshamov_distance):
        with pytest.raises(MemoryError, match="n_bits=1152921504606846976"):
            function(4, 2**60)


@pytest.mark.parametrize("value", [0, 2, 0.5, np.nan])
def test_distances_of_what_are_no_signs_are_refused(value):
    centers = np.ones((3, 4))
    centers[1, 2] = value
    for call in (minimum_distance, lambda centers: additional_centers(centers, 1)):
        with pytest.raises(ValueError, match=r"centers hold other values than -1 and \+1"):
            call(centers)


@pytest.mark.parametrize(
    ("prototypes", "message"),
    [
        (np.eye(3), "got 3 prototypes for 4 words"),
        (np.full((4, 2), np.nan), "hold NaN or infinity"),
        (np.full((4, 2), 1e300), "their squares overflow"),
        (np.eye(4) + 1j, "dtype complex128"),
    ],
)
def test_prototypes_that_do_not_fit_are_refused(prototypes, message):
    """Words were assigned by NaN."""
    with pytest.raises(ValueError, match=message):
        NestedCodebook(4, 8, prefixes=(4,), random_state=0).assign(prototypes)


@pytest.mark.parametrize("prefixes", [4, None, (True, 2), (2.0,), "24"])
def test_prefixes_that_are_no_lengths_are_refused(prefixes):
    with pytest.raises((TypeError, ValueError), match=r"^NestedCodebook: prefixes="):
        NestedCodebook(4, 8, prefixes=prefixes)
