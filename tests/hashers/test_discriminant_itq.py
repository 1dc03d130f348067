"""DiscriminantITQ: its equations, a case by hand, the choice of the ridge and classes that come later."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits

from skhash import ITQ, DiscriminantITQ
from skhash.centers import minimum_distance
from skhash.metrics import mean_average_precision

DIGITS, LABELS = load_digits(return_X_y=True)
UNIT = DIGITS / np.linalg.norm(DIGITS, axis=1, keepdims=True)
TRAIN, TEST = slice(0, 1000), slice(1000, None)
SEVERAL = np.column_stack([LABELS % 2, LABELS % 3 == 0, LABELS > 4, np.ones_like(LABELS)]).astype(int)
MEANS = np.array([UNIT[c == LABELS].mean(axis=0) for c in range(10)])


def score(hasher):
    codes = hasher.transform(DIGITS)
    return mean_average_precision(codes[TEST], codes[TRAIN], LABELS[TEST], LABELS[TRAIN])


@pytest.mark.parametrize("n_bits", [4, 9, 16])
def test_directions_solve_the_equation_with_rows_of_norm_one(n_bits):
    hasher = DiscriminantITQ(n_bits, ridge=0.5, random_state=0).fit(DIGITS, LABELS)
    mean, shares = UNIT.mean(axis=0), np.bincount(LABELS) / len(LABELS)
    within = (UNIT - MEANS[LABELS]).T @ (UNIT - MEANS[LABELS]) / len(UNIT)
    ridged = within + 0.5 * np.trace(within) / 64 * np.eye(64)
    between = (MEANS - mean).T * shares @ (MEANS - mean)
    W = hasher.components_.T
    assert W.shape[1] == min(n_bits, 9)
    values = np.diag(W.T @ between @ W)
    assert (np.diff(values) < 0).all()
    np.testing.assert_allclose(between @ W, ridged @ W * values, atol=1e-9)
    np.testing.assert_allclose(hasher.project(DIGITS), (UNIT - mean) @ W @ hasher.rotation_, atol=1e-9)


def test_rotation_is_the_best_for_the_centres():
    hasher = DiscriminantITQ(16, random_state=0).fit(DIGITS, LABELS)
    R = hasher.rotation_
    np.testing.assert_allclose(R @ R.T, np.eye(9), atol=1e-9)
    P = (MEANS - UNIT.mean(axis=0)) @ hasher.components_.T
    best = np.linalg.svd(hasher.centers_.T @ P, compute_uv=False).sum()
    assert np.trace(R @ hasher.centers_.T @ P) == pytest.approx(best)
    assert hasher.minimum_distance_ == minimum_distance(hasher.centers_) >= 7


def test_three_classes_on_axes_by_hand():
    """Means at 0, 120 and 240 degrees: centres of two differing bits are reached by all rows, near or far."""
    angles = np.deg2rad([0, 120, 240])[:, None] + np.deg2rad([-10, 10])
    X = np.stack([np.cos(angles), np.sin(angles)], axis=-1).reshape(-1, 2)
    y = np.repeat([0, 1, 2], 2)
    hasher = DiscriminantITQ(3, random_state=0).fit(X * np.array([1, 5, 2, 9, 1, 3])[:, None], y)
    assert hasher.minimum_distance_ == 2
    np.testing.assert_array_equal(np.unpackbits(hasher.transform(X), axis=1)[:, :3], hasher.centers_[y] > 0)


def test_more_classes_than_bits_have_learned_centres():
    hasher = DiscriminantITQ(4, random_state=0).fit(DIGITS, LABELS)
    P = (MEANS - UNIT.mean(axis=0)) @ hasher.components_.T
    assert hasher.centers_.shape == (10, 4)
    # A fixed point of the turns but for the last one.
    assert (np.where(P @ hasher.rotation_ >= 0, 1, -1) == hasher.centers_).mean() > 0.9


@pytest.mark.parametrize("n_bits", [8, 16])
def test_retrieves_better_than_itq(n_bits):
    ours = DiscriminantITQ(n_bits, random_state=0).fit(DIGITS[TRAIN], LABELS[TRAIN])
    assert score(ours) > score(ITQ(n_bits, random_state=0).fit(DIGITS[TRAIN])) + 0.1


def test_auto_takes_the_ridge_with_the_largest_sum_of_both_scores():
    hasher = DiscriminantITQ(16, ridge="auto", random_state=0).fit(DIGITS[TRAIN], LABELS[TRAIN])
    scores = hasher.ridge_scores_
    assert list(scores) == [0.1, 0.3, 1.0, 3.0, 10.0]
    assert sum(scores[hasher.ridge_]) == max(map(sum, scores.values()))
    fixed = DiscriminantITQ(16, ridge=hasher.ridge_, random_state=0).fit(DIGITS[TRAIN], LABELS[TRAIN])
    np.testing.assert_array_equal(fixed.transform(DIGITS), hasher.transform(DIGITS))
    assert not hasattr(fixed, "ridge_scores_")


def test_auto_with_too_few_classes_to_hold_out():
    few = LABELS < 3
    hasher = DiscriminantITQ(8, ridge="auto", random_state=0).fit(DIGITS[few], LABELS[few])
    assert hasher.ridge_ == 1
    assert not hasattr(hasher, "ridge_scores_")


def test_chunks_of_known_classes_give_what_a_fit_gives():
    """But for the centres, which the first chunk decides."""
    parts = DiscriminantITQ(16, random_state=0).partial_fit(DIGITS[:600], LABELS[:600])
    parts.partial_fit(DIGITS[600:1000], LABELS[600:1000])
    whole = DiscriminantITQ(16, random_state=0).fit(DIGITS[TRAIN], LABELS[TRAIN])
    np.testing.assert_allclose(parts.components_, whole.components_, atol=1e-7)
    np.testing.assert_allclose(parts.mean_, whole.mean_)
    assert score(parts) > 0.95 * score(whole)


def test_later_classes_take_further_words_and_known_ones_keep_theirs():
    known = LABELS[TRAIN] < 7
    hasher = DiscriminantITQ(16, random_state=0).fit(DIGITS[TRAIN][known], LABELS[TRAIN][known])
    centers, before = hasher.centers_.copy(), hasher.transform(DIGITS[TEST])
    hasher.partial_fit(DIGITS[TRAIN][~known], LABELS[TRAIN][~known])
    assert hasher.classes_.tolist() == list(range(10))
    np.testing.assert_array_equal(hasher.centers_[:7], centers)
    assert hasher.minimum_distance_ == minimum_distance(hasher.centers_) >= 6
    # Codes of known classes that were stored before find rows hashed after.
    rows = LABELS[TEST] < 7
    queries, labels = hasher.transform(DIGITS[TEST])[rows], LABELS[TEST][rows]
    stale = mean_average_precision(queries[::2], before[rows][1::2], labels[::2], labels[1::2])
    fresh = mean_average_precision(queries[::2], queries[1::2], labels[::2], labels[1::2])
    assert stale > 0.95 * fresh


def test_later_classes_in_any_order_of_names():
    names = np.array(["m", "z", "a", "k"])[LABELS % 4]
    late = names == "a"
    hasher = DiscriminantITQ(8, random_state=0).fit(DIGITS[~late], names[~late])
    centers = dict(zip(hasher.classes_, hasher.centers_, strict=True))
    hasher.partial_fit(DIGITS[late], names[late])
    assert hasher.classes_.tolist() == ["a", "k", "m", "z"]
    for name, center in zip(hasher.classes_[1:], hasher.centers_[1:], strict=True):
        np.testing.assert_array_equal(center, centers[name])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (
            np.full(100, "a"),
            "y holds the class 'a', but classes known so far are like 0; use one type",
        ),
        (np.ones((100, 3), dtype=int), "DiscriminantITQ: y has 3 columns, but 10 classes are known; pass as many"),
        (np.zeros(99, dtype=int), "DiscriminantITQ: X has 100 rows and y 99"),
    ],
)
def test_labels_of_another_kind_are_refused_and_change_nothing(y, message):
    hasher = DiscriminantITQ(8, random_state=0).fit(DIGITS, LABELS)
    before = hasher.transform(DIGITS)
    with pytest.raises(ValueError, match=message):
        hasher.partial_fit(DIGITS[:100], y)
    np.testing.assert_array_equal(hasher.transform(DIGITS), before)


def test_several_labels_in_chunks_and_sparse():
    whole = DiscriminantITQ(8, random_state=0).fit(DIGITS, SEVERAL)
    parts = DiscriminantITQ(8, random_state=0).partial_fit(sparse.csr_array(DIGITS[:900]), SEVERAL[:900])
    parts.partial_fit(sparse.csr_array(DIGITS[900:]), SEVERAL[900:])
    np.testing.assert_allclose(np.abs(parts.components_), np.abs(whole.components_), atol=1e-6)
    assert DiscriminantITQ(8, ridge="auto", random_state=0).fit(DIGITS, SEVERAL).ridge_ in (0.1, 0.3, 1, 3, 10)


def test_norms_do_not_matter_and_rows_of_zeros_have_codes():
    hasher = DiscriminantITQ(16, random_state=0).fit(DIGITS, LABELS)
    np.testing.assert_array_equal(hasher.transform(DIGITS * 8), hasher.transform(DIGITS))
    np.testing.assert_allclose(hasher.project(np.zeros((1, 64)))[0], -hasher.mean_ @ hasher._weights)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (
            DIGITS,
            np.zeros(len(DIGITS), dtype=int),
            "scaled to norm 1, the 1 classes of the labelled rows",
        ),
        (np.ones((4, 3)), [0, 0, 1, 1], "scaled to norm 1, the 2 classes of the labelled rows"),
        (np.repeat(np.eye(2), 2, axis=0), [0, 0, 1, 1], "all rows of a class are equal but for their norm"),
    ],
    ids=["one-class", "equal-rows", "equal-in-classes"],
)
def test_what_leaves_nothing_to_learn_is_refused_in_one_line(X, y, message):
    with pytest.raises(ValueError, match=f"DiscriminantITQ: {message}") as raised:
        DiscriminantITQ(4).fit(X, y)
    assert "\n" not in str(raised.value)


def test_a_seeded_global_generator_of_numpy_changes_nothing_and_warns_of_nothing():
    """SciPy warned of NumPy's global generator wherever somebody had seeded it."""
    expected = DiscriminantITQ(16, random_state=0).fit(DIGITS, LABELS).transform(DIGITS)
    state = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(0)  # noqa: NPY002
        codes = DiscriminantITQ(16, random_state=0).fit(DIGITS, LABELS).transform(DIGITS)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    np.testing.assert_array_equal(codes, expected)
