"""NestedHash: its equations, prefixes, the choice of settings, rows and classes that come later."""

import numpy as np
import pytest
from scipy import linalg
from sklearn.datasets import load_digits

from skhash import ITQ, NestedHash
from skhash.centers import minimum_distance
from skhash.codes import truncate_codes
from skhash.hashers._root_kernel import unit_roots
from skhash.metrics import mean_average_precision

DIGITS, LABELS = load_digits(return_X_y=True)
TRAIN, TEST = slice(0, 1000), slice(1000, None)
SEVERAL = np.column_stack([LABELS % 2, LABELS % 3 == 0, LABELS > 4]).astype(int)


def small(n_bits=16, **params):
    params = {"n_anchors": 150, "ridge": 1.0, "residual": 0.3, "random_state": 0, **params}
    return NestedHash(n_bits, **params)


def score(codes, labels=LABELS):
    return mean_average_precision(codes[TEST], codes[TRAIN], labels[TEST], labels[TRAIN], zero_relevant="skip")


def coordinates(hasher, X):
    """L^-1 k(x) of every row, written out."""
    roots = np.array([[np.sign(v) * np.sqrt(abs(v) / np.abs(x).sum()) for v in x] for x in X])
    A = hasher.anchors_

    def kernel(U, V):
        return np.exp(-((U[:, None] - V) ** 2).sum(axis=2) / hasher.width_)

    L = np.linalg.cholesky(kernel(A, A) + 1e-6 * np.eye(len(A)))
    return np.linalg.solve(L, kernel(roots, A).T).T


def test_unit_roots_by_hand():
    roots = unit_roots(np.array([[4.0, -9.0, 3.0], [0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(roots, [[0.5, -0.75, np.sqrt(3) / 4], [0, 0, 0]])


def test_projections_solve_the_equations_in_each_block():
    X, y = DIGITS[:400], LABELS[:400]
    hasher = small(32, residual=0.0).fit(X, y)
    phi = coordinates(hasher, X)
    means, shares = np.array([phi[y == c].mean(axis=0) for c in range(10)]), np.bincount(y) / len(y)
    mean = shares @ means
    within = (phi - means[y]).T @ (phi - means[y]) / len(y)
    total = (phi - mean).T @ (phi - mean) / len(y)
    between = (means - mean).T * shares @ (means - mean)
    ridged = within + 1.0 * np.trace(total) / len(y) * np.eye(len(within))
    values, W = linalg.eigh(between, ridged)
    W, strengths = W[:, ::-1][:, :9], np.sqrt(values[::-1][:9])
    W = W * np.sqrt(strengths.mean() / strengths)
    expected = np.empty((len(X), 32))
    for block in (slice(0, 16), slice(16, 32)):
        u, _, v = np.linalg.svd(hasher.centers_[:, block].T @ ((means - mean) @ W), full_matrices=False)
        expected[:, block] = (phi - mean) @ W @ (u @ v).T
    np.testing.assert_allclose(hasher.project(X), expected, atol=1e-6)


def test_fillers_stay_off_the_means_and_off_the_rotation():
    X, y = DIGITS[:600], LABELS[:600]
    plain, mixed = (small(16, residual=weight).fit(X, y) for weight in (0.0, 0.5))
    np.testing.assert_array_equal(plain.centers_, mixed.centers_)
    added = mixed.project(X) - plain.project(X)
    np.testing.assert_allclose([added[y == c].mean(axis=0) for c in range(10)], 0, atol=1e-6)
    values = np.sort(np.linalg.eigvalsh(added.T @ added / len(X)))[::-1]
    # 16 bits less 9 discriminants; the first component has variance 1, and counts 0.5.
    assert values[0] == pytest.approx(0.25, rel=1e-6)
    assert values[6] > 1e-4
    assert values[7:] == pytest.approx(0, abs=1e-9)
    rotation = np.linalg.svd(plain.project(X), full_matrices=False)[2][:9]
    np.testing.assert_allclose(added @ rotation.T, 0, atol=1e-6)


def test_fillers_weigh_more_in_later_blocks():
    """What the residual adds to a block has k_b / K_b times the scale: 1 for the first 16 bits, 2 for the next 16."""
    phi = coordinates(small().fit(DIGITS, LABELS), DIGITS)
    added = small(32).fit(DIGITS, LABELS).project(DIGITS) - small(32, residual=0.0).fit(DIGITS, LABELS).project(DIGITS)
    added -= added.mean(axis=0)
    centred = phi - np.array([phi[c == LABELS].mean(axis=0) for c in range(10)])[LABELS]
    means = linalg.orth(np.array([phi[c == LABELS].mean(axis=0) - phi.mean(axis=0) for c in range(10)]).T)
    off_means = centred - (centred @ means) @ means.T
    variances = np.sort(linalg.eigvalsh(off_means.T @ off_means))[::-1]
    # 7 directions of either block are empty; the first component has variance 1 before it is weighed by 0.3.
    for block, used, weight in ((slice(0, 16), slice(0, 7), 1), (slice(16, 32), slice(7, 14), 2)):
        expected = (0.3 * weight) ** 2 * variances[used].sum() / variances[0]
        assert added[:, block].var(axis=0).sum() == pytest.approx(expected, rel=1e-4)


def test_a_prefix_is_a_truncated_code():
    hasher = small(64).fit(DIGITS[TRAIN], LABELS[TRAIN])
    codes = hasher.transform(DIGITS)
    for n_bits in (1, 16, 20, 32, 64):
        shorter = hasher.prefix(n_bits)
        assert shorter.n_bits == shorter.n_bits_ == n_bits
        np.testing.assert_array_equal(shorter.transform(DIGITS), truncate_codes(codes, n_bits))
        np.testing.assert_array_equal(shorter.project(DIGITS), hasher.project(DIGITS)[:, :n_bits])
    assert hasher.n_bits_ == 64
    np.testing.assert_array_equal(hasher.set_params(n_bits=16).transform(DIGITS), truncate_codes(codes, 16))
    assert len(hasher.get_feature_names_out()) == 2
    # More than were fitted wait for the next fit.
    assert hasher.set_params(n_bits=128).transform(DIGITS).shape[1] == 2


@pytest.mark.parametrize("n_bits", [0, 65, 16.5, True])
def test_a_prefix_of_more_bits_than_fitted_is_refused(n_bits):
    hasher = small(64).fit(DIGITS[TRAIN], LABELS[TRAIN])
    with pytest.raises(
        ValueError, match=f"n_bits={n_bits} of a prefix must be a whole number from 1 to the 64 bits fitted"
    ):
        hasher.prefix(n_bits)


@pytest.mark.parametrize("n_bits", [16, 32])
def test_a_prefix_is_as_good_as_a_fit_of_its_length(n_bits):
    nested = small(64, residual=0.2).fit(DIGITS[TRAIN], LABELS[TRAIN]).prefix(n_bits)
    alone = small(n_bits, prefixes=(), residual=0.2).fit(DIGITS[TRAIN], LABELS[TRAIN])
    assert score(nested.transform(DIGITS)) > score(alone.transform(DIGITS)) - 0.01


def test_distances_are_those_of_all_pairs_of_centres():
    hasher = small(40, prefixes=(8, 16)).fit(DIGITS, LABELS)
    assert hasher.minimum_distances_ == {n: minimum_distance(hasher.centers_[:, :n]) for n in (8, 16, 40)}


def test_retrieves_better_than_itq():
    ours = NestedHash(16, random_state=0).fit(DIGITS[TRAIN], LABELS[TRAIN])
    assert score(ours.transform(DIGITS)) > score(ITQ(16, random_state=0).fit(DIGITS[TRAIN]).transform(DIGITS)) + 0.15


@pytest.mark.parametrize(("n_rows", "seed"), [(1000, 0), (200, 1), (1797, 2)])
def test_auto_takes_the_best_sum_of_both_scores_where_it_is_clear(n_rows, seed):
    rows = slice(n_rows)
    chosen = small(16, ridge="auto", residual="auto", random_state=seed).fit(DIGITS[rows], LABELS[rows])
    scores = {setting: sum(pair) for setting, pair in chosen.validation_scores_.items()}
    assert {ridge for ridge, residual in scores if residual == 0.4} == {0.1, 0.5, 2.0, 10.0, 30.0}
    best = max(scores, key=lambda setting: scores[setting])
    assert {residual for ridge, residual in scores if ridge == best[0]} == {0.0, 0.2, 0.4, 0.6}
    is_clear = scores[best] > scores[0.5, 0.4] + 0.04
    assert (chosen.ridge_, chosen.residual_) == (best if is_clear else (0.5, 0.4))
    settings = {"ridge": chosen.ridge_, "residual": chosen.residual_, "random_state": seed}
    fixed = small(16, **settings).fit(DIGITS[rows], LABELS[rows])
    np.testing.assert_array_equal(fixed.transform(DIGITS), chosen.transform(DIGITS))
    assert not hasattr(fixed, "validation_scores_")


@pytest.mark.parametrize("n_classes", [2, 3])
def test_auto_holds_out_only_rows_of_few_classes(n_classes):
    rows = n_classes > LABELS
    chosen = small(16, ridge="auto", residual="auto").fit(DIGITS[rows], LABELS[rows])
    assert all(unseen == 0 < seen for seen, unseen in chosen.validation_scores_.values())


def test_one_row_a_class_is_enough():
    _, first = np.unique(LABELS, return_index=True)
    hasher = NestedHash(16, random_state=0).fit(DIGITS[first], LABELS[first])
    assert (hasher.ridge_, hasher.residual_) == (0.5, 0.4)
    np.testing.assert_array_equal(hasher.transform(DIGITS[first]), np.packbits(hasher.centers_ > 0, axis=1))


def test_more_classes_than_bits_have_learned_centres():
    y = LABELS * 3 + np.arange(len(LABELS)) % 3
    hasher = small(24, prefixes=(8,)).fit(DIGITS, y)
    assert hasher.centers_.shape == (30, 24)
    assert set(np.unique(hasher.centers_)) == {-1, 1}
    assert score(hasher.transform(DIGITS)) > 0.6


def test_rows_that_come_later_are_learned_and_keep_the_centres():
    hasher = small().fit(DIGITS[:300], LABELS[:300])
    centers, before = hasher.centers_.copy(), hasher.project(DIGITS)
    for start in range(300, 1000, 350):
        hasher.partial_fit(DIGITS[start : start + 350], LABELS[start : start + 350])
    np.testing.assert_array_equal(hasher.centers_, centers)
    assert hasher.statistics_.n_samples == 1000
    # The statistics are those of all rows at once, to the anchors of the first call.
    kernels = hasher._kernel(DIGITS[:1000])
    for c in range(10):
        np.testing.assert_allclose(hasher.statistics_.means[c], kernels[LABELS[:1000] == c].mean(axis=0), atol=1e-9)
    assert score(hasher.transform(DIGITS)) > score(np.packbits(before >= 0, axis=1)) + 0.01


def test_new_classes_get_codewords_and_old_codes_stay_comparable():
    old, new = LABELS < 7, LABELS >= 7
    hasher = small(32).fit(DIGITS[TRAIN][old[TRAIN]], LABELS[TRAIN][old[TRAIN]])
    stored, centers = hasher.transform(DIGITS), hasher.centers_.copy()
    hasher.add_classes(DIGITS[TRAIN][new[TRAIN]], LABELS[TRAIN][new[TRAIN]])
    assert hasher.classes_.tolist() == list(range(10))
    np.testing.assert_array_equal(hasher.centers_[:7], centers)
    assert hasher.minimum_distances_[32] >= 10
    codes = hasher.transform(DIGITS)
    # Images of old classes were hashed before, those of new ones after.
    database = np.where(old[TRAIN, None], stored[TRAIN], codes[TRAIN])
    mixed = mean_average_precision(codes[TEST], database, LABELS[TEST], LABELS[TRAIN])
    assert mixed > score(codes) - 0.02
    assert mixed > score(stored) + 0.02


def test_unknown_classes_are_refused_by_partial_fit():
    hasher = small().fit(DIGITS[:300], LABELS[:300] % 5)
    with pytest.raises(
        ValueError, match="y holds the class 5, which is none of the 5 known; pass its rows to add_classes"
    ):
        hasher.partial_fit(DIGITS, LABELS)
    with pytest.raises(ValueError, match=r"y holds the class 'a', but classes known so far are like 0; use one type"):
        hasher.add_classes(DIGITS[:2], ["a", "b"])
    with pytest.raises(ValueError, match="pass one class a row"):
        hasher.add_classes(DIGITS, SEVERAL)


def test_rows_without_a_label_count_for_anchors_and_fillers():
    y = np.where(np.arange(1000) % 10, -1, LABELS[TRAIN])
    half = small(64, n_anchors=300).fit(DIGITS[TRAIN], y)
    alone = small(64, n_anchors=300).fit(DIGITS[TRAIN][::10], LABELS[TRAIN][::10])
    assert (len(half.anchors_), len(alone.anchors_)) == (300, 100)
    assert half.statistics_.n_samples == 100
    assert score(half.transform(DIGITS)) > score(alone.transform(DIGITS)) - 0.02
    later = small(64, n_anchors=300).fit(DIGITS[TRAIN], LABELS[TRAIN]).partial_fit(DIGITS[:50], np.r_[0, [-1] * 49])
    assert later.statistics_.n_samples == 1001


def test_rows_with_several_labels():
    hasher = small(16, ridge="auto", residual="auto").fit(DIGITS[TRAIN], SEVERAL[TRAIN])
    codes, plain = hasher.transform(DIGITS), ITQ(16, random_state=0).fit(DIGITS[TRAIN]).transform(DIGITS)
    assert score(codes, SEVERAL) > score(plain, SEVERAL) + 0.02


def test_auto_does_not_hold_out_a_class_of_all_rows():
    everywhere = np.eye(10, dtype=int)[LABELS[:300]]
    everywhere[:, 3] = 1
    chosen = small(16, ridge="auto", residual="auto").fit(DIGITS[:300], everywhere)
    assert all(0 < seen <= 1 for seen, unseen in chosen.validation_scores_.values())


def test_strings_are_classes():
    names = np.array(list("abcdefghij"))[LABELS]
    hasher = small().fit(DIGITS, names)
    np.testing.assert_array_equal(hasher.transform(DIGITS), small().fit(DIGITS, LABELS).transform(DIGITS))
    assert hasher.classes_.tolist() == list("abcdefghij")


def test_scale_of_a_row_does_not_matter():
    hasher = small().fit(DIGITS, LABELS)
    np.testing.assert_allclose(hasher.project(DIGITS * 1000), hasher.project(DIGITS), atol=1e-7)


@pytest.mark.parametrize(
    ("X", "y", "params", "message"),
    [
        (DIGITS, np.zeros(len(DIGITS)), {}, "the labelled rows are of 1 classes whose means are all the same"),
        (np.ones((9, 4)) * np.arange(1, 10)[:, None], [0, 1, 2] * 3, {}, "all 9 rows are equal but for their norm"),
        (
            DIGITS,
            LABELS,
            {"prefixes": (32, 16)},
            r"prefixes=\(32, 16\) must be different whole numbers >= 1, ascending",
        ),
        (DIGITS, LABELS, {"prefixes": (0, 16)}, r"prefixes=\(0, 16\) must be different whole numbers >= 1"),
        (DIGITS, LABELS, {"prefixes": ("a",)}, r"prefixes=\('a',\) must be different whole numbers >= 1"),
        (DIGITS * 1e307, LABELS, {}, "overflow in float64; scale them"),
    ],
    ids=["one-class", "equal-rows", "falling", "zero", "strings", "overflow"],
)
def test_what_cannot_be_learned_from_is_refused_in_one_line(X, y, params, message):
    with pytest.raises(ValueError, match=message) as raised:
        small(**params).fit(X, y)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("NestedHash: ")
