"""Hamming balls, against a double loop."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skhash.codes import hamming_distances, pack_bits
from skhash.metrics import precision_recall_by_radius, precision_within_radius


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (70, 12))
    codes, labels = pack_bits(bits), rng.integers(0, 3, 70)
    labels[0] = 3  # a query without relevant items
    return codes[:10], codes[10:], labels[:10], labels[10:]


def naive(problem, radius):
    query_codes, database_codes, query_labels, database_labels = problem
    distances = hamming_distances(query_codes, database_codes)
    precision, recall, empty = [], [], []
    for row, label in zip(distances, query_labels, strict=True):
        inside = [x == label for d, x in zip(row, database_labels, strict=True) if d <= radius]
        total = sum(x == label for x in database_labels)
        precision.append(sum(inside) / len(inside) if inside else 0.0)
        recall.append(sum(inside) / total if total else 0.0)
        empty.append(not inside)
    return np.array(precision), np.array(recall), np.array(empty)


def test_curves_equal_a_double_loop(problem):
    with pytest.warns(UserWarning, match=r"precision_recall_by_radius: 1 of 10 queries \(first: 0\) .* count as 0"):
        precision, recall, radii = precision_recall_by_radius(*problem, n_bits=12)
    assert_array_equal(radii, np.arange(13))
    for radius in radii:
        wanted_precision, wanted_recall, _ = naive(problem, radius)
        assert precision[radius] == pytest.approx(wanted_precision.mean())
        assert recall[radius] == pytest.approx(wanted_recall.mean())


def test_radii_beyond_the_code_length_add_nothing(problem):
    precision, recall, radii = precision_recall_by_radius(*problem, zero_relevant="skip")
    assert radii[-1] == 16
    assert len(set(precision[12:])) == len(set(recall[12:])) == 1


def test_skipped_queries_are_left_out_of_the_curves(problem):
    precision, recall, _ = precision_recall_by_radius(*problem, zero_relevant="skip")
    for radius in (0, 3, 12):
        wanted_precision, wanted_recall, _ = naive(problem, radius)
        assert precision[radius] == pytest.approx(wanted_precision[1:].mean())
        assert recall[radius] == pytest.approx(wanted_recall[1:].mean())
    assert recall[-1] == 1.0
    with pytest.raises(ValueError, match=r"1 of 10 queries \(first: 0\)"):
        precision_recall_by_radius(*problem, zero_relevant="error")


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 12, 100])
def test_precision_within_radius_equals_a_double_loop(problem, radius):
    wanted, _, empty = naive(problem, radius)
    with pytest.warns(UserWarning, match="1 of 10 queries .* count as 0"):
        precision, empty_rate = precision_within_radius(*problem, radius=radius, return_empty_rate=True)
    assert precision == pytest.approx(wanted.mean())
    assert empty_rate == pytest.approx(empty.mean())
    with pytest.warns(UserWarning, match="1 of 10 queries .* count as 0"):
        assert precision_within_radius(*problem, radius=radius) == precision
    skipped = precision_within_radius(*problem, radius=radius, zero_relevant="skip", return_empty_rate=True)
    assert_allclose(skipped, [wanted[1:].mean(), empty[1:].mean()])


def test_leave_one_out_ball_does_not_hold_its_centre():
    codes, labels = [[0], [255], [0]], ["a", "a", "b"]
    with pytest.warns(UserWarning, match=r"1 of 3 queries \(first: 2\)"):
        assert precision_within_radius(codes, None, labels, radius=0, return_empty_rate=True) == (0.0, 1 / 3)


@pytest.mark.parametrize("radius", [-1, 2.0, True, None, "2"])
def test_radius_is_an_integer(problem, radius):
    with pytest.raises(ValueError, match=r"precision_within_radius: radius=.* must be an integer >= 0"):
        precision_within_radius(*problem, radius=radius)


def test_wrong_code_length_is_refused(problem):
    with pytest.raises(ValueError, match="precision_recall_by_radius: query_codes: n_bits=20 needs codes of 3 bytes"):
        precision_recall_by_radius(*problem, n_bits=20)
    with pytest.raises(ValueError, match="padding bit"):
        precision_recall_by_radius(*problem, n_bits=9)


def test_largest_radius_of_a_small_integer_is_no_empty_ball():
    """255 + 1 is 0 in 8 bits."""
    codes, labels = np.arange(6, dtype=np.uint8)[:, None], np.arange(6) % 2
    expected = precision_within_radius(codes, None, labels, radius=255)
    assert precision_within_radius(codes, None, labels, radius=np.uint8(255)) == expected > 0
