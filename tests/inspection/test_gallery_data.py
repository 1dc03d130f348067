import numpy as np
import pytest

from skhash.inspection._gallery_data import names_of_labels, relevance_of_neighbors, rows_of_ids

ROWS = np.array([[0, 1, 2], [2, 1, 0]])


@pytest.mark.parametrize(
    ("query_labels", "database_labels", "expected"),
    [
        (["a", "b"], ["a", "b", "a"], [[1, 0, 1], [0, 1, 0]]),
        ([0, 1], [0, -1, 1], [[1, -1, 0], [1, -1, 0]]),
        ([-1, 1], [0, 1, 1], [[-1, -1, -1], [1, 1, 0]]),
        ([1, 1], [-1, -1, -1], [[-1, -1, -1], [-1, -1, -1]]),
        ([[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 0, 0], [0, 1, 1]], [[1, 0, 1], [1, 0, 0]]),
    ],
)
def test_relevance_is_a_shared_class_or_label_and_minus_one_where_unknown(query_labels, database_labels, expected):
    relevance = relevance_of_neighbors(np.array(query_labels), np.array(database_labels), ROWS, caller="caller")
    np.testing.assert_array_equal(relevance, expected)


@pytest.mark.parametrize(
    ("query_labels", "database_labels", "message"),
    [
        (["0", "1"], [0, 1, 2], "caller: query_labels hold strings"),
        ([0, 1], [[1, 0], [0, 1], [1, 1]], r"caller: query_labels has shape \(1,\) and database_labels \(3, 2\)"),
        ([[2, 0], [0, 1]], [[1, 0], [0, 1], [1, 1]], "caller: query_labels holds 2"),
    ],
)
def test_labels_that_cannot_be_compared_are_refused(query_labels, database_labels, message):
    with pytest.raises(ValueError, match=message):
        relevance_of_neighbors(np.array(query_labels), np.array(database_labels), ROWS, caller="caller")


def test_ids_are_positions_or_names():
    ids = np.array([[7, 3], [5, 7]])
    np.testing.assert_array_equal(rows_of_ids(ids, [5, 7, 3], 3, caller="caller"), [[1, 2], [0, 1]])
    np.testing.assert_array_equal(rows_of_ids(ids, None, 8, caller="caller"), ids)


@pytest.mark.parametrize(
    ("database_ids", "message"),
    [
        (None, "id 7 is not among the 3 database images; pass database_ids"),
        ([5, 3, 4], "id 7 is not among the 3 database images; pass the ids_"),
        ([5, 7], "database_ids has 2 rows for 3"),
        ([5, 7, 7], "database_ids hold id 7 twice"),
    ],
)
def test_ids_without_an_image_are_refused(database_ids, message):
    with pytest.raises(ValueError, match=f"^caller: {message}"):
        rows_of_ids(np.array([[7]]), database_ids, 3, caller="caller")


@pytest.mark.parametrize(
    ("labels", "target_names", "expected"),
    [
        ([1, 0, -1], ["cat", "dog"], ["dog", "cat", ""]),
        ([1, 0, -1], None, ["1", "0", ""]),
        (["x", "y"], None, ["x", "y"]),
        ([[1, 1], [0, 1], [0, 0]], ["sky", "sea"], ["sky, sea", "sea", ""]),
        ([[1, 1], [0, 1]], None, ["", ""]),
    ],
)
def test_names_of_labels(labels, target_names, expected):
    assert names_of_labels(np.array(labels), target_names, caller="caller") == expected


@pytest.mark.parametrize("labels", [[2], [0.0], ["cat"], [[1, 0, 1]]])
def test_labels_without_a_name_are_refused(labels):
    with pytest.raises(ValueError, match="target_names"):
        names_of_labels(np.array(labels), ["cat", "dog"], caller="caller")
