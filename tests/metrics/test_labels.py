"""Labels to relevance: what counts as equal, and what is refused."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_matrix

from skhash.metrics._labels import check_labels, relevance_from_labels

pd = pytest.importorskip("pandas", reason="labels come as pandas Series, too")

EVERYTHING = slice(None)


def levels(query_labels, database_labels):
    relevance = relevance_from_labels(query_labels, database_labels, len(query_labels), len(database_labels))
    return np.asarray(relevance.levels(EVERYTHING, EVERYTHING), dtype=int)


@pytest.mark.parametrize(
    ("query_labels", "database_labels"),
    [
        ([3, 0], [0, 3, 7]),
        (["d", "a"], ["a", "d", "z"]),
        ([b"d", b"a"], [b"a", b"d", b"z"]),
        (np.array(["d", "a"]), np.array(["a", "d", "a long name"], dtype=object)),
        ([3, 0], [0.0, 3.0, 7.0]),
        ([True, False], [0, 1, 2]),
        (np.array([np.str_("d"), np.str_("a")], dtype=object), ["a", "d", "z"]),
        (pd.Series(["d", "a"], dtype="category"), pd.Series(["a", "d", "z"])),
        (np.array([2**53 + 1, 2]), np.array([2, 2**53 + 1, 2**53], dtype=np.uint64)),
        (pd.to_datetime(["2024-02-01", "2024-01-01"]), pd.to_datetime(["2024-01-01", "2024-02-01", "2025-01-01"])),
        (np.array([("d", 1), None], dtype=object)[:1].repeat(2), np.array([("a", 1), ("d", 1), 1], dtype=object)),
    ],
)  # fmt: skip
def test_classes_are_relevant_where_equal(query_labels, database_labels):
    wanted = [[int(q == x) for x in list(database_labels)] for q in list(query_labels)]
    assert_array_equal(levels(query_labels, database_labels), wanted)
    assert np.sum(wanted) == 2


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, float])
@pytest.mark.parametrize("n_labels", [2, 63, 64, 65, 200])
def test_indicators_give_the_number_of_shared_labels(dtype, n_labels):
    rng = np.random.default_rng(0)
    query_labels, database_labels = rng.integers(0, 2, (5, n_labels)), rng.integers(0, 2, (7, n_labels))
    assert_array_equal(
        levels(query_labels.astype(dtype), database_labels.astype(dtype)), query_labels @ database_labels.T
    )
    relevance = relevance_from_labels(query_labels, None, 5, 5)
    assert_array_equal(relevance.own_levels(EVERYTHING), query_labels.sum(axis=1))
    assert relevance.n_levels == query_labels.sum(axis=1).max() + 1


def test_number_of_levels_covers_the_largest_overlap():
    assert relevance_from_labels([[1, 1, 1]], [[1, 1, 0], [0, 0, 0]], 1, 2).n_levels == 3


@pytest.mark.parametrize(
    ("query_labels", "database_labels", "message"),
    [
        (None, [0], "query_labels is None"),
        ([0, 1], [0], "query_labels has 2 items and its codes have 1"),
        ([0], [0, 1], "database_labels has 2 items and its codes have 1"),
        ([0], [[0, 1]], "pass classes .1D. for both or indicators .2D. for both"),
        ([[0, 1]], [[0, 1, 1]], "query_labels has 2 label columns and database_labels 3"),
        ([[0, 2]], [[0, 1]], "query_labels holds 2 at row 0; a 2D array of labels is an indicator"),
        ([[0, 1]], [[0.5, 1]], "database_labels holds 0.5 at row 0"),
        ([[0, np.nan]], [[0, 1]], "query_labels holds nan at row 0"),
        ([["a", "b"]], [["a", "b"]], "query_labels has dtype <U1"),
        ([[1]], [[1]], r"query_labels has shape \(1, 1\); pass classes as a 1D array"),
        ([[[1]]], [0], r"query_labels has shape \(1, 1, 1\)"),
        (3, [0], r"query_labels has shape \(\)"),
        ([np.nan], [0], "query_labels holds missing values"),
        ([0], [np.nan], "database_labels holds missing values"),
        ([None], ["a"], "query_labels holds missing values"),
        (pd.array([pd.NA], dtype="Int64"), [1], "query_labels holds missing values"),
        (np.array(["NaT"], dtype="datetime64[ns]"), [1], "query_labels holds missing values"),
        ([0], [-1], "database_labels holds -1, which means unlabelled"),
        ([-1.0], [1], "query_labels holds -1, which means unlabelled"),
        (["1"], [1], "query_labels hold strings, database_labels numbers or objects, which are never equal"),
        (["1"], [b"1"], "query_labels hold strings, database_labels bytes, which are never equal"),
        (np.array([{}]), [1], "query_labels holds objects that are not hashable"),
        (csr_matrix([[0, 1]]), [[0, 1]], "query_labels is a sparse csr_matrix; call `.toarray"),
    ],
)
def test_unusable_labels_are_named_in_one_line(query_labels, database_labels, message):
    with pytest.raises(ValueError, match=message) as caught:
        relevance_from_labels(query_labels, database_labels, 1, 1)
    assert "\n" not in str(caught.value)


def test_ragged_lists_of_labels_name_the_binarizer():
    with pytest.raises(ValueError, match=r"query_labels is a ragged sequence; .*MultiLabelBinarizer"):
        relevance_from_labels([["a"], ["a", "b"]], [["a"]], 2, 1)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "search: y is None"),
        (3, r"search: y has shape \(\); pass classes"),
        ([[[1]], [[2]]], r"search: y has shape \(2, 1, 1\)"),
        ([1], "search: y has 1 items and its codes have 2"),
        ([[1], [2]], r"search: y has shape \(2, 1\); pass classes as a 1D array"),
        ([[1, 0], [1]], "search: y is a ragged sequence; .*MultiLabelBinarizer"),
        ([[1, 0], [1, np.nan]], "search: y holds nan at row 1"),
        ([[1, 0], [1, -1]], "search: y holds -1 at row 1"),
        ([["a", "b"], ["c", "d"]], "search: y has dtype <U1"),
        ([0, np.nan], "search: y holds missing values"),
        (["a", None], "search: y holds missing values"),
        (np.array([{"a"}, {"b"}]), "search: y holds objects that are not hashable"),
        (csr_matrix([[0, 1], [1, 0]]), "search: y is a sparse csr_matrix"),
    ],
)
def test_labels_of_a_database_are_checked_in_one_line(labels, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_labels(labels, 2, name="search: y")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", [[0, -1], ["a", "b"], [0.5, 2.0], [[True, False], [False, False]]])
def test_labels_of_a_database_pass_as_an_array(labels):
    """-1 is legal here: a database may hold unlabelled items."""
    array = np.array(labels)
    assert check_labels(array, 2, name="search: y") is array
    checked = check_labels(labels, 2, name="search: y")
    assert_array_equal(checked, array)
    assert checked.dtype == array.dtype


def test_a_string_of_minus_one_is_a_class():
    assert levels(["-1"], ["-1", "0"]).tolist() == [[1, 0]]


@pytest.mark.parametrize("labels", [[0, 1, 2], [[0, 1], [1, 0], [1, 1]]])
def test_masked_labels_are_refused(labels):
    mask = np.zeros(np.shape(labels), dtype=bool)
    mask[0] = True
    with pytest.raises(ValueError, match="y holds missing values"):
        check_labels(np.ma.array(labels, mask=mask), 3, name="y")


def test_numbers_beside_strings_stay_numbers():
    """NumPy made "1" of the number, which then was relevant to the string."""
    relevance = relevance_from_labels(["1", 1], ["1", 1], 2, 2)
    assert_array_equal(relevance.levels(slice(None), slice(None)), [[1, 0], [0, 1]])
