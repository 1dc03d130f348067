"""PCAH against scikit-learn's PCA."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from skhash import PCAH

DIGITS = load_digits().data


def test_projections_are_principal_components_up_to_sign():
    ours = PCAH(20).fit(DIGITS)
    pca = PCA(20, svd_solver="full").fit(DIGITS)
    signs = np.sign((ours.components_ * pca.components_).sum(axis=1))
    np.testing.assert_allclose(ours.project(DIGITS), pca.transform(DIGITS) * signs, atol=1e-8)
    np.testing.assert_allclose(ours.explained_variance_, pca.explained_variance_)
    np.testing.assert_array_equal(ours.rotation_, np.eye(20))


def test_random_rotation_is_orthogonal_and_applied():
    plain, rotated = PCAH(12).fit(DIGITS), PCAH(12, rotation="random", random_state=0).fit(DIGITS)
    np.testing.assert_allclose(rotated.rotation_ @ rotated.rotation_.T, np.eye(12), atol=1e-12)
    np.testing.assert_allclose(rotated.project(DIGITS), plain.project(DIGITS) @ rotated.rotation_, atol=1e-9)


def test_random_rotation_spreads_the_variance():
    plain, rotated = PCAH(16).fit(DIGITS), PCAH(16, rotation="random", random_state=0).fit(DIGITS)
    spread = [hasher.project(DIGITS).var(axis=0) for hasher in (plain, rotated)]
    assert spread[0].max() / spread[0].min() > 10 > 5 > spread[1].max() / spread[1].min()


@pytest.mark.parametrize("rotation", [None, "random"])
def test_chunks_give_the_codes_of_one_fit(rotation):
    whole = PCAH(16, rotation=rotation, random_state=np.random.RandomState(0)).fit(DIGITS)
    chunked = PCAH(16, rotation=rotation, random_state=np.random.RandomState(0))
    for chunk in np.array_split(DIGITS, 7):
        chunked.partial_fit(chunk)
    np.testing.assert_array_equal(chunked.transform(DIGITS), whole.transform(DIGITS))


def test_sparse_rows_give_the_codes_of_dense_rows():
    dense = PCAH(16).fit(DIGITS)
    from_sparse = PCAH(16).fit(sparse.csr_matrix(DIGITS))
    np.testing.assert_allclose(from_sparse.project(sparse.csr_matrix(DIGITS)), dense.project(DIGITS), atol=1e-8)


def test_changed_n_bits_between_chunks_is_refused():
    hasher = PCAH(8).partial_fit(DIGITS[:100])
    with pytest.raises(ValueError, match="PCAH: n_bits=16 differs from the 8 bits fitted so far; call fit"):
        hasher.set_params(n_bits=16).partial_fit(DIGITS[100:])


@pytest.mark.parametrize(
    ("n_bits", "rows", "message"),
    [
        (65, slice(None), "PCAH: n_bits=65 must be <= n_features=64"),
        (10, slice(0, 10), "PCAH: n_bits=10 must be < n_samples=10"),
        (62, slice(None), "PCAH: n_bits=62 must be <= 61, the rank of the training data"),
    ],
)
def test_more_bits_than_the_data_support_are_refused(n_bits, rows, message):
    with pytest.raises(ValueError, match=message):
        PCAH(n_bits).fit(DIGITS[rows])


def variance_ratio(hasher, X):
    """Variance along the directions of a hasher, and along the best ones, by scikit-learn."""
    kept = (X - X.mean(axis=0)) @ hasher.components_.T
    return kept.var(axis=0).sum() / PCA(len(hasher.components_)).fit_transform(X).var(axis=0).sum()


BY_CLASS = DIGITS[np.argsort(load_digits().target, kind="stable")]


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_kept_hash_functions_give_the_same_bits_while_statistics_go_on(container):
    hasher = PCAH(8, rotation="random", keep_hash_functions=True, random_state=0).fit(container(BY_CLASS[:200]))
    before = hasher.project(DIGITS)
    assert hasher.kept_variance_ratio_ == pytest.approx(1)
    for chunk in np.array_split(BY_CLASS[200:], 5):
        hasher.partial_fit(container(chunk))
        np.testing.assert_array_equal(hasher.project(DIGITS), before)
    np.testing.assert_allclose(hasher.mean_, BY_CLASS[:200].mean(axis=0))
    np.testing.assert_allclose(hasher.statistics_.mean, DIGITS.mean(axis=0))
    assert hasher.statistics_.n_samples == len(DIGITS)


def test_ratio_says_what_better_directions_would_gain():
    hasher = PCAH(8, keep_hash_functions=True).fit(BY_CLASS[:200])
    ratios = []
    for chunk in np.array_split(BY_CLASS[200:], 5):
        hasher.partial_fit(chunk)
        ratios.append(hasher.kept_variance_ratio_)
    assert ratios[-1] == pytest.approx(variance_ratio(hasher, BY_CLASS))
    # The first chunk holds zeros and ones only.
    assert ratios[-1] < 0.85


def test_nothing_is_lost_by_having_kept_the_hash_functions():
    hasher = PCAH(8, keep_hash_functions=True).fit(BY_CLASS[:200]).partial_fit(BY_CLASS[200:1500])
    hasher.set_params(keep_hash_functions=False).partial_fit(BY_CLASS[1500:])
    np.testing.assert_allclose(hasher.project(DIGITS), PCAH(8).fit(DIGITS).project(DIGITS), atol=1e-8)
    assert hasher.kept_variance_ratio_ == pytest.approx(1)


def test_rows_that_overflow_are_refused_while_hash_functions_are_kept():
    hasher = PCAH(8, keep_hash_functions=True).fit(DIGITS)
    with pytest.raises(ValueError, match="PCAH: features are so large that their products overflow"):
        hasher.partial_fit(DIGITS * 1e307)
    assert hasher.statistics_.n_samples == len(DIGITS)


def test_unfitted_hasher_has_no_ratio():
    assert not hasattr(PCAH(8), "kept_variance_ratio_")
