"""Folds that settings are chosen on, by hand."""

import numpy as np
import pytest

from skhash._labels import encode_labels
from skhash.hashers._held_out import HeldOutRows, draw_groups, hold_out

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
ORDER = np.array([9, 3, 0, 7, 1, 8, 2, 4, 6, 5])


def targets_of(y):
    return encode_labels("test", y)


@pytest.mark.parametrize(
    ("n_classes", "sizes"), [(3, []), (4, [2, 2]), (5, [3, 2]), (6, [2, 2, 2]), (7, [3, 2, 2]), (11, [4, 4, 3])]
)
def test_groups_hold_each_class_of_several_rows_once(n_classes, sizes):
    # The last class has one row, the first has five.
    y = np.r_[np.repeat(np.arange(n_classes), 2), [0] * 3, n_classes, -1]
    groups = draw_groups(targets_of(y), np.random.RandomState(0))
    assert [len(group) for group in groups] == sizes
    if sizes:
        assert sorted(np.concatenate(groups).tolist()) == list(range(n_classes))


def test_a_third_of_the_other_rows_is_held_out_with_the_classes():
    (fold,) = hold_out(targets_of(LABELS), ORDER, [[2]], 100)
    # In random order, rows of the other classes are 3, 0, 7, 1, 2, 4, 6 and 5; the first of each three is held out.
    assert fold.fitted.tolist() == [0, 2, 4, 5, 7]
    others, held_out = fold.parts
    assert (others.rows.tolist(), others.labels.tolist()) == ([1, 3, 6], [0, 0, 1])
    assert (held_out.rows.tolist(), held_out.labels.tolist()) == ([8, 9], [0, 0])


def test_the_first_rows_of_the_order_are_scored_on():
    (fold,) = hold_out(targets_of(LABELS), ORDER, [[1]], 3)
    # Those of the class come as 7, 4, 6 and 5.
    assert fold.parts[1].rows.tolist() == [4, 6, 7]


def test_rows_of_several_classes_are_held_out_with_any_of_them():
    indicators = np.eye(3, dtype=int)[LABELS]
    indicators[7, 2] = 1
    (fold,) = hold_out(targets_of(indicators), ORDER, [[2]], 100)
    others, held_out = fold.parts
    assert held_out.rows.tolist() == [7, 8, 9]
    # Of the classes that these rows have.
    assert held_out.labels.tolist() == [[1, 1], [0, 1], [0, 1]]
    # 3, 0, 1, 2, 4, 6, 5.
    assert (others.rows.tolist(), others.labels.tolist()) == ([2, 3, 5], [0, 0, 1])


def test_parts_and_folds_that_say_nothing_are_left_out():
    (fold,) = hold_out(targets_of(LABELS), ORDER, [[]], 100)
    assert fold.parts[1] is None
    # A class each.
    assert list(hold_out(targets_of(np.arange(10)), ORDER, [[0], [1, 2]], 100)) == []
    everywhere = np.eye(3, dtype=int)[LABELS]
    everywhere[:, 1] = 1
    assert [len(fold.fitted) for fold in hold_out(targets_of(everywhere), ORDER, [[0], [1]], 100)] == [4]


def test_each_row_is_a_query_for_the_others():
    codes = np.array([[0b0], [0b1], [0b111], [0b1111111]], dtype=np.uint8)
    # The one relevant row of each comes second, third, second and second.
    part = HeldOutRows(np.arange(4), np.array([0, 1, 0, 1]))
    assert part.score(codes) == pytest.approx((1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 4)
