"""Protocol splits against the definition of the protocols, written as loops."""

import hashlib
import struct

import numpy as np
import pytest
from scipy import sparse

from skhash.datasets import retrieval_split, unseen_class_split
from skhash.datasets._splits import _make_split

pd = pytest.importorskip("pandas", reason="labels come as pandas Series, too")

CIFAR10_LABELS = np.random.RandomState(0).permutation(np.arange(60_000) % 10)
PETS = ["cat", "dog", "cow"] * 20


@pytest.mark.parametrize(
    ("n_queries", "n_train", "database", "sizes"),
    [
        (100, 500, "rest", (1_000, 5_000, 54_000)),
        (100, 500, "all_but_queries", (1_000, 5_000, 59_000)),
        (1000, None, "all_but_queries", (10_000, 50_000, 50_000)),
    ],
)
def test_sizes_of_the_published_protocols(n_queries, n_train, database, sizes):
    split = retrieval_split(
        CIFAR10_LABELS,
        n_queries_per_class=n_queries,
        n_train_per_class=n_train,
        database=database,
        random_state=0,
    )
    query, train, stored = set(split.query.tolist()), set(split.train.tolist()), set(split.database.tolist())
    assert (len(query), len(train), len(stored)) == sizes
    assert not query & (train | stored)
    assert query | train | stored == set(range(60_000))
    assert train <= stored if database == "all_but_queries" else not train & stored
    for rows, size in zip((split.query, split.train, split.database), sizes, strict=True):
        assert rows.dtype == np.int64
        assert rows.tolist() == sorted(rows.tolist())
        assert np.bincount(CIFAR10_LABELS[rows]).tolist() == [size // 10] * 10


def test_seed_zero_draws_what_the_legacy_generator_of_numpy_draws():
    """RandomState(0).permutation(10) is 2 8 4 9 1 6 7 3 0 5 in every version of NumPy, by its promise."""
    split = retrieval_split([7] * 10, n_queries_per_class=2, n_train_per_class=3, random_state=0)
    assert split.query.tolist() == [2, 8]
    assert split.train.tolist() == [1, 4, 9]
    assert split.database.tolist() == [0, 3, 5, 6, 7]


def test_split_hash_is_the_documented_digest_of_the_rows():
    split = retrieval_split(PETS, n_queries_per_class=2, n_train_per_class=3, random_state=0)
    content = b""
    for name in ("query", "train", "database"):
        content += f"{name}:{len(split[name])};".encode()
        content += b"".join(struct.pack("<q", row) for row in split[name])
    assert split.split_hash == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("split_function", [retrieval_split, unseen_class_split])
def test_same_seed_same_split_and_another_seed_another(split_function):
    params = {"n_queries_per_class": 2, "n_train_per_class": 3}
    if split_function is unseen_class_split:
        params["n_unseen_classes"] = 2
    first, again, other = (split_function(PETS, **params, random_state=seed) for seed in (0, 0, 1))
    assert first.split_hash == again.split_hash != other.split_hash
    np.testing.assert_array_equal(first.database, again.database)


@pytest.mark.parametrize(
    "convert",
    [
        list,
        np.array,
        pd.Series,
        lambda y: pd.Series(y, dtype="category"),
        lambda y: pd.Series(y, dtype="string"),
        lambda y: np.array(y, dtype=object),
        lambda y: np.array([{"cat": 0, "cow": 1, "dog": 2}[name] for name in y], dtype=np.float32),
        lambda y: np.array([{"cat": -5, "cow": 0, "dog": 7}[name] for name in y]),
    ],
    ids=["list", "array", "series", "category", "string", "object", "whole-floats", "integers"],
)
def test_labels_of_any_type_give_the_same_split(convert):
    expected = retrieval_split(PETS, n_queries_per_class=2, n_train_per_class=3, random_state=0)
    split = retrieval_split(convert(PETS), n_queries_per_class=2, n_train_per_class=3, random_state=0)
    assert split.split_hash == expected.split_hash


def test_unseen_classes_are_in_no_training_row():
    split = unseen_class_split(
        CIFAR10_LABELS, n_unseen_classes=3, n_queries_per_class=100, n_train_per_class=500, random_state=0
    )
    train_classes, unseen_classes = set(split.train_classes.tolist()), set(split.unseen_classes.tolist())
    assert len(train_classes) == 7
    assert train_classes | unseen_classes == set(range(10))
    assert set(CIFAR10_LABELS[split.train].tolist()) == train_classes
    assert set(CIFAR10_LABELS[split.query].tolist()) == unseen_classes
    assert set(CIFAR10_LABELS[split.database].tolist()) == unseen_classes
    assert (len(split.query), len(split.train), len(split.database)) == (300, 3_500, 17_700)
    assert not set(split.query.tolist()) & set(split.database.tolist())


def test_unseen_split_without_a_number_trains_on_whole_classes():
    split = unseen_class_split(PETS, n_unseen_classes=2, n_queries_per_class=1, random_state=0)
    assert split.train.tolist() == [i for i, name in enumerate(PETS) if name == split.train_classes[0]]
    assert (len(split.query), len(split.database)) == (2, 38)


@pytest.mark.parametrize(("fraction", "n_unseen"), [(0.3, 3), (0.25, 2), (0.26, 3), (0.9, 9)])
def test_fraction_of_unseen_classes_is_rounded(fraction, n_unseen):
    split = unseen_class_split(CIFAR10_LABELS, n_unseen_classes=fraction, n_queries_per_class=1, random_state=0)
    assert len(split.unseen_classes) == n_unseen


def one_line_error(error, match, split_function, y, **params):
    params = {"n_queries_per_class": 1, "n_train_per_class": 1, **params}
    with pytest.raises(error, match=match) as info:
        split_function(y, **params)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    ("database", "n_needed"),
    [("rest", 6), ("all_but_queries", 5)],
)
def test_class_that_is_too_small_is_named_with_its_count_and_the_need(database, n_needed):
    params = {"n_queries_per_class": 2, "n_train_per_class": 3, "database": database}
    small = ["cat"] * 9 + ["dog"] * (n_needed - 1)
    message = f"retrieval_split: class 'dog' has {n_needed - 1} rows, {n_needed} are needed: n_queries_per_class=2"
    one_line_error(ValueError, message, retrieval_split, small, **params)
    split = retrieval_split([*small, "dog"], **params)
    assert len(split.database) >= 2


def test_too_small_class_of_an_object_array_is_named():
    y = np.array(["cat", "cat", "cat", "dog"], dtype=object)
    one_line_error(ValueError, "class 'dog' has 1 rows", retrieval_split, y)


def test_unseen_split_names_the_class_that_is_too_small():
    y = [0] * 5 + [1] * 5 + [2]
    params = {"n_unseen_classes": 2, "n_queries_per_class": 1, "n_train_per_class": 2}
    failures = 0
    for seed in range(20):
        with pytest.raises(ValueError, match=r"class 2 has 1 rows, 2 are needed: n_(queries|train)_per_class=") as info:
            unseen_class_split(y, **params, random_state=seed)
        failures += "n_queries" in str(info.value)
    assert 0 < failures < 20


def test_no_number_of_training_rows_leaves_no_rest():
    match = "n_train_per_class=None leaves nothing for database='rest'"
    one_line_error(ValueError, match, retrieval_split, PETS, n_train_per_class=None)


BAD_LABELS = [
    (np.ones((4, 3), dtype=int), r"one class per row, got shape \(4, 3\).*ShuffleSplit"),
    (sparse.csr_array(np.eye(4)), r"one class per row, got shape \(4, 4\)"),
    (np.ones((4, 1), dtype=int), r"y.ravel\(\)"),
    ([["sky"], ["sky", "sea"]], "one class per row, got shape .*different lengths"),
    ([], "y is empty"),
    ([0.0, np.nan, 1.0], r"y\[1\]=nan is no class"),
    ([0.0, 1.0, np.inf], r"y\[2\]=inf is no class"),
    ([0.5, 1.0], r"y\[0\]=0.5 is no class"),
    (np.array(["a", None], dtype=object), r"y\[1\]=None is no class"),
    (np.array(["a", np.nan], dtype=object), r"y\[1\]=nan is no class"),
    (pd.Series(["a", pd.NA], dtype="string"), r"y\[1\]=<NA> is no class"),
    (pd.Series([1, pd.NA], dtype="Int64"), r"y\[1\]=(nan|<NA>) is no class"),
    (np.array([1 + 2j, 3]), "is no class"),
]


@pytest.mark.parametrize("split_function", [retrieval_split, unseen_class_split])
@pytest.mark.parametrize(("y", "match"), BAD_LABELS, ids=[match for _, match in BAD_LABELS])
def test_labels_that_are_no_classes(split_function, y, match):
    params = {"n_unseen_classes": 2} if split_function is unseen_class_split else {}
    one_line_error(ValueError, f"^{split_function.__name__}: .*{match}", split_function, y, **params)


def test_labels_that_mix_strings_and_numbers():
    one_line_error(TypeError, "mixes strings and numbers", retrieval_split, np.array(["a", 1], dtype=object))


@pytest.mark.parametrize(
    ("n_unseen_classes", "match"),
    [
        (3, "n_unseen_classes=3 must be >= 2 and < n_classes=3"),
        (0.4, "n_unseen_classes=0.4 gives 1 of 3 classes, which must be >= 2"),
        (0.9, "n_unseen_classes=0.9 gives 3 of 3 classes"),
        (1, "'n_unseen_classes' parameter of unseen_class_split"),
        (1.0, "'n_unseen_classes' parameter of unseen_class_split"),
    ],
)
def test_number_of_unseen_classes_out_of_range(n_unseen_classes, match):
    one_line_error(ValueError, match, unseen_class_split, PETS, n_unseen_classes=n_unseen_classes)


@pytest.mark.parametrize("name", ["n_queries_per_class", "n_train_per_class"])
@pytest.mark.parametrize("value", [0, 2.0])
def test_counts_below_one_or_not_whole(name, value):
    one_line_error(ValueError, f"'{name}' parameter of retrieval_split", retrieval_split, PETS, **{name: value})


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        (([[0, 1]], [[1, 2]], [[3]]), "1 rows are both in query and in train, first row 1"),
        (([[0, 1]], [[2]], [[1], [0]]), "2 rows are both in query and in database, first row 0"),
        (([[0]], [[2]], [[2]]), "1 rows are both in train and in database, first row 2"),
    ],
)
def test_parts_that_overlap_are_refused(parts, match):
    parts = [[np.array(rows) for rows in part] for part in parts]
    with pytest.raises(RuntimeError, match=match):
        _make_split(*parts)


def test_huge_unsigned_counts_do_not_wrap_around():
    """They were added in 64 bits: rows were both queries and database."""
    y = np.repeat([0, 1], 10)
    with pytest.raises(ValueError, match="class 0 has 10 rows"):
        retrieval_split(y, n_queries_per_class=np.uint64(2**64 - 1), n_train_per_class=1)


def test_flags_are_no_counts():
    with pytest.raises(TypeError, match="n_train_per_class=True must be an integer"):
        retrieval_split([0] * 5 + [1] * 5, n_queries_per_class=1, n_train_per_class=True)


def test_lists_of_strings_and_numbers_are_refused():
    """NumPy made strings of the numbers."""
    with pytest.raises(TypeError, match="y mixes strings and numbers"):
        retrieval_split(["cat", 1] * 5, n_queries_per_class=1, n_train_per_class=1)


def test_masked_rows_have_no_class():
    y = np.ma.array(np.repeat([0, 1], 10), mask=np.arange(20) == 3)
    with pytest.raises(ValueError, match=r"^retrieval_split: y: 1 values are masked"):
        retrieval_split(y, n_queries_per_class=1, n_train_per_class=1)
