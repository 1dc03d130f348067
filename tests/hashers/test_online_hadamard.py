"""OnlineHadamardHash against the paper's update by hand, and what it promises when classes come later."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skhash import ITQ, OnlineHadamardHash
from skhash.centers import minimum_distance
from skhash.hashers._online_hadamard import _codewords, _gradient
from skhash.metrics import mean_average_precision

X, Y = load_digits(return_X_y=True)
TRAIN, QUERY, Y_TRAIN, Y_QUERY = train_test_split(X, Y, test_size=400, random_state=0)


def score(hasher, database=None):
    database = hasher.transform(TRAIN) if database is None else database
    return mean_average_precision(hasher.transform(QUERY), database, Y_QUERY, Y_TRAIN)


def naive_fit(hasher, rows, labels, seed):
    """The paper's loop, one row after the other, from the same draws."""
    random = np.random.RandomState(seed)
    state = random.randint(2**31 - 1)
    W = random.standard_normal((hasher.n_bits, rows.shape[1])).T
    W = W / np.sqrt((W**2).sum(axis=0))
    order = np.random.RandomState([state, len(rows)]).permutation(len(rows))
    for i in order:
        x = rows[i] - rows.mean(axis=0)
        x = x / np.sqrt(x @ x)
        F = np.tanh(W.T @ x)
        for bit in range(hasher.n_bits):
            target = hasher.codewords_[list(hasher.classes_).index(labels[i]), bit]
            W[:, bit] -= 0.2 * x * (F[bit] - target) * (1 - F[bit] ** 2)
    return W


@pytest.mark.parametrize("n_bits", [3, 16])
def test_one_pass_is_the_loop_of_the_paper(n_bits):
    hasher = OnlineHadamardHash(n_bits, random_state=7).fit(TRAIN[:50], Y_TRAIN[:50])
    W = naive_fit(hasher, TRAIN[:50], Y_TRAIN[:50], 7)
    np.testing.assert_allclose(hasher.components_, W.T, atol=1e-9)
    np.testing.assert_allclose(hasher.project(QUERY), (QUERY - TRAIN[:50].mean(axis=0)) @ W, atol=1e-8)


def test_gradient_is_that_of_the_objective():
    random = np.random.RandomState(0)
    W, rows, targets = random.randn(4, 3), random.randn(5, 4), np.sign(random.randn(5, 3))

    def half_objective(weights):
        return np.sum((np.tanh(rows @ weights) - targets) ** 2) / 2 / 5

    numeric = np.empty_like(W)
    for i, j in np.ndindex(W.shape):
        step = np.zeros_like(W)
        step[i, j] = 1e-6
        numeric[i, j] = (half_objective(W + step) - half_objective(W - step)) / 2e-6
    np.testing.assert_allclose(_gradient(W, rows, targets), numeric, atol=1e-8)


def test_codewords_are_rows_of_a_hadamard_matrix_or_shortened():
    words = _codewords(10, 32, np.random.RandomState(0))
    assert words.shape == (64, 32)
    assert minimum_distance(words) == 16
    # 16 rows for 10 classes, and their negatives, shortened to 12 bits.
    words = _codewords(10, 12, np.random.RandomState(0))
    assert words.shape == (32, 12)
    assert set(np.unique(words)) == {-1, 1}
    # Angles are kept by the hyperplanes: of orthogonal rows, half of the bits differ.
    words = _codewords(4, 1000, np.random.RandomState(0))
    assert 400 < minimum_distance(words) < 550


def test_better_than_itq_after_one_pass_and_in_chunks():
    whole = OnlineHadamardHash(32, random_state=0).fit(TRAIN, Y_TRAIN)
    chunked = OnlineHadamardHash(32, random_state=0)
    for rows in np.array_split(np.arange(len(TRAIN)), 10):
        chunked.partial_fit(TRAIN[rows], Y_TRAIN[rows])
    reference = score(ITQ(32, random_state=0).fit(TRAIN))
    assert score(whole) > reference + 0.08
    assert score(chunked) > reference + 0.08


def test_new_class_leaves_the_codewords_of_the_others_as_they_are():
    hasher = OnlineHadamardHash(16, random_state=0)
    known = {}
    for first in [7, 3, 0, 9]:
        rows = np.isin(Y_TRAIN, [first, first - 1])
        hasher.partial_fit(TRAIN[rows], Y_TRAIN[rows])
        assert hasher.classes_.tolist() == sorted(hasher.classes_)
        for label, codeword in known.items():
            np.testing.assert_array_equal(hasher.codewords_[hasher.classes_ == label][0], codeword)
        known = dict(zip(hasher.classes_.tolist(), hasher.codewords_, strict=True))
        assert minimum_distance(hasher.codewords_) >= 8
    # A label of -1 marks rows without one.
    assert sorted(known) == [0, 2, 3, 6, 7, 8, 9]


def test_database_need_not_be_hashed_again_for_new_classes():
    """Codes stored when five classes were known are searched with queries hashed when all ten are."""
    hasher = OnlineHadamardHash(32, random_state=0)
    stored = np.empty((len(TRAIN), 4), dtype=np.uint8)
    for classes in (range(5), range(5, 10)):
        for part in range(5):
            rows = np.flatnonzero(np.isin(Y_TRAIN, classes))[part::5]
            hasher.partial_fit(TRAIN[rows], Y_TRAIN[rows])
        own = np.isin(Y_TRAIN, classes)
        stored[own] = hasher.transform(TRAIN[own])
    assert score(hasher, stored) > score(hasher) - 0.03
    assert score(hasher, stored) > score(ITQ(32, random_state=0).fit(TRAIN)) + 0.05


def test_classes_named_first_make_room_for_all():
    labels = np.arange(40) % 4
    first = OnlineHadamardHash(4, random_state=0)
    with pytest.raises(ValueError, match="9 classes exceed the 4 known and the 4 codewords left; call fit to start"):
        first.partial_fit(X[:40], labels).partial_fit(X[:40], np.arange(40) % 9)
    before = first.transform(X)
    assert first.classes_.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(first.partial_fit(X[:4], [0, 1, 2, 3]).classes_, range(4))
    assert before.shape == (len(X), 1)
    roomy = OnlineHadamardHash(4, random_state=0).partial_fit(X[:40], labels, classes=range(9))
    assert roomy.partial_fit(X[:40], np.arange(40) % 9).codewords_.shape == (9, 4)


def test_refused_rows_leave_no_trace():
    hasher, other = (OnlineHadamardHash(8, random_state=0).fit(TRAIN[:100], Y_TRAIN[:100]) for _ in range(2))
    for rows, labels, message in [
        (TRAIN[:9] * 1e200, Y_TRAIN[:9], "OnlineHadamardHash: features are so large that their products overflow"),
        (TRAIN[:9], Y_TRAIN[:8], "OnlineHadamardHash: X has 9 rows and y 8"),
        (TRAIN[:9], ["new"] * 9, "OnlineHadamardHash: y holds the class 'new', but the classes so far are such as 0"),
        (TRAIN[:9], [-1] * 9, "OnlineHadamardHash: all 9 rows of y are unlabelled"),
        (TRAIN[:9], np.eye(9), "OnlineHadamardHash: y has 9 columns, but 10 classes are known"),
    ]:
        with pytest.raises(ValueError, match=message):
            hasher.partial_fit(rows, labels)
    with pytest.raises(ValueError, match="OnlineHadamardHash: n_bits=9 differs from the 8 bits fitted so far"):
        hasher.set_params(n_bits=9).partial_fit(TRAIN, Y_TRAIN)
    hasher.set_params(n_bits=8).partial_fit(TRAIN[100:200], Y_TRAIN[100:200])
    other.partial_fit(TRAIN[100:200], Y_TRAIN[100:200])
    np.testing.assert_array_equal(hasher.project(QUERY), other.project(QUERY))


def test_unlabelled_rows_only_count_for_the_mean():
    labels = np.where(np.arange(200) < 100, Y_TRAIN[:200], -1)
    hasher = OnlineHadamardHash(8, random_state=0).fit(TRAIN[:200], labels)
    np.testing.assert_allclose(hasher.mean_, TRAIN[:200].mean(axis=0))
    assert hasher.classes_.tolist() == list(range(10))


def test_several_labels_aim_at_the_mean_of_their_codewords():
    single = OnlineHadamardHash(16, random_state=0).fit(TRAIN, np.eye(10)[Y_TRAIN])
    np.testing.assert_array_equal(
        single.transform(QUERY), OnlineHadamardHash(16, random_state=0).fit(TRAIN, Y_TRAIN).transform(QUERY)
    )
    both = np.eye(10)[Y_TRAIN] + np.eye(10)[(Y_TRAIN + 1) % 10]
    hasher = OnlineHadamardHash(16, max_iter=5, random_state=0).fit(TRAIN, both)
    codewords = np.sign(hasher.codewords_ + np.roll(hasher.codewords_, -1, axis=0).astype(float))[Y_QUERY]
    agreement = codewords * np.sign(hasher.project(QUERY))
    assert agreement[codewords != 0].mean() > 0.7


def test_string_classes_and_a_single_class():
    names = np.array(["zero", "one"])[(Y_TRAIN > 0).astype(int)]
    hasher = OnlineHadamardHash(8, random_state=0).partial_fit(TRAIN[:60], names[:60])
    assert hasher.classes_.tolist() == ["one", "zero"]
    alone = OnlineHadamardHash(8, random_state=0).partial_fit(TRAIN[Y_TRAIN == 3], np.full((Y_TRAIN == 3).sum(), 3))
    assert alone.codewords_.shape == (1, 8)
    constant = OnlineHadamardHash(8, random_state=0).fit(np.ones((9, 4)), np.arange(9) % 2)
    assert len(np.unique(constant.transform(np.ones((9, 4))), axis=0)) == 1
