"""Labels to indicators."""

import numpy as np
import pytest

from skhash import CCAITQ
from skhash._labels import Targets, encode_labels, warn_of_signs


@pytest.mark.parametrize(
    ("y", "classes", "labels"),
    [
        ([3, 7, 3, -1], [3, 7], [0, 1, 0, -1]),
        (["b", "a", "b", "c"], ["a", "b", "c"], [1, 0, 1, 2]),
        (["b", -1, "a"], ["a", "b"], [1, -1, 0]),
        (np.array(["-1", "a"]), ["-1", "a"], [0, 1]),
        (np.array(["b", -1, "a"], dtype=object), ["a", "b"], [1, -1, 0]),
        ([True, False, True], [False, True], [1, 0, 1]),
        ([2.0, -1.0, 5.0], [2, 5], [0, -1, 1]),
    ],
)
def test_classes_are_numbered_in_order_and_minus_one_is_unlabelled(y, classes, labels):
    targets = encode_labels("Name", y)
    assert targets.classes.tolist() == classes
    assert targets.labels.tolist() == labels
    expected = [[float(label == column) for column in range(len(classes))] for label in labels]
    assert targets.indicators_of(slice(None)).tolist() == expected
    assert targets.indicators_of([0]).dtype == np.float32
    assert targets.labelled.tolist() == [row for row, label in enumerate(labels) if label != -1]


def test_known_classes_keep_their_numbers():
    targets = encode_labels("Name", ["c", "a"], classes=["c", "b", "a"])
    assert targets.classes.tolist() == ["a", "b", "c"]
    assert targets.labels.tolist() == [2, 0]


def test_indicators_pass_through_and_rows_of_zeros_are_unlabelled():
    y = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    targets = encode_labels("Name", y)
    np.testing.assert_array_equal(targets.indicators_of(slice(None)), y)
    assert targets.classes.tolist() == [0, 1, 2]
    assert targets.labelled.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("y", "classes", "message"),
    [
        (None, None, "requires y to be passed, but the target y is None; pass one label per row"),
        ([-1, -1], None, "all 2 rows of y are unlabelled; label some"),
        (np.zeros((3, 2)), None, "all 3 rows of y are unlabelled"),
        ([0.5, 1.0], None, "y holds 0.5, which is no class"),
        ([0.0, np.nan], None, "y holds nan, which is no class"),
        (np.array(["a", None], dtype=object), None, "missing values; mark unlabelled rows by -1"),
        (["a", 1], None, "both strings and other classes"),
        ([[0], [1]], None, r"shape \(2, 1\); pass classes \(n_samples,\), for example by `.ravel\(\)`"),
        ([[1, 2], [0, 1]], None, r"y holds .*2.* at row 0; indicators are 0 or 1"),
        ([[1, -1], [0, 1]], None, r"y holds .*-1.* at row 0"),
        ([[1, 0], [1]], None, "y is ragged"),
        (np.array([1 + 1j, 2]), None, "dtype complex128"),
        (["a", "z"], ["a", "b"], "the class 'z', which is none of the 2 known so far"),
        ([[1, 0]], [0, 1, 2], "y has 2 columns, but 3 classes are known"),
    ],
)
def test_bad_labels_are_refused_in_one_line(y, classes, message):
    with pytest.raises(ValueError, match=message) as raised:
        encode_labels("Name", y, classes)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("Name: ")


def test_shares_and_sets_of_labels():
    several = encode_labels("Name", [[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 1]])
    assert several.shares().toarray().tolist() == [[0.5, 0, 0.5], [0, 0, 0], [0, 1, 0], [0.5, 0, 0.5]]
    single = encode_labels("Name", [7, -1, 3])
    assert single.shares().toarray().tolist() == [[0, 1], [0, 0], [1, 0]]
    for targets in (several, single):
        sets, members = targets.label_sets()
        np.testing.assert_array_equal(sets[members], targets.indicators_of(slice(None)))
        assert len(sets) == 3
    assert len(single.select([0, 2])) == 2


def test_signs_as_classes_are_warned_of_because_minus_one_is_unlabelled():
    with (
        pytest.warns(
            UserWarning, match="CCAITQ: y holds nothing but 1 and -1, and -1 means unlabelled; for two"
        ) as caught,
        pytest.raises(ValueError, match="nothing correlates"),
    ):
        CCAITQ(2).fit(np.random.default_rng(0).random((20, 3)), np.resize([-1, 1], 20))
    assert len(caught) == 1


@pytest.mark.parametrize("y", [[1, 1], [0, -1], [1, -1, 2], [[1, 0], [0, 0]], ["1", "-1"]])
def test_other_labels_are_not_warned_of(y):
    targets = encode_labels("Name", y)
    assert isinstance(targets, Targets)
    warn_of_signs("Name", targets)


def test_class_sizes_count_a_row_in_each_of_its_classes():
    assert encode_labels("test", [3, -1, 3, 5]).class_sizes().tolist() == [2, 1]
    assert encode_labels("test", [[1, 0, 1], [0, 0, 0], [1, 0, 0]]).class_sizes().tolist() == [2, 0, 1]


def test_masked_labels_are_refused():
    with pytest.raises(ValueError, match=r"^hasher: y: 1 values are masked"):
        encode_labels("hasher", np.ma.array([0, 1, 2], mask=[True, False, False]))


class Incomparable:
    def __eq__(self, other):
        raise RuntimeError("no comparison")

    __hash__ = None


def test_objects_that_cannot_be_compared_are_refused_as_labels():
    """They raised errors of their own classes."""
    labels = np.empty(3, dtype=object)
    labels[:] = [0, Incomparable(), 1]
    with pytest.raises(TypeError, match=r"^hasher: y holds objects that are no labels"):
        encode_labels("hasher", labels)
