"""ITQ against a plain transcription of the paper, faiss, and a case with a known answer."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from skhash import ITQ, PCAH
from skhash.hashers._itq import _FEW_CHANGES
from skhash.hashers._linear_algebra import random_rotation

DIGITS = load_digits().data


def plain_itq(V, rotation, n_turns):
    """Gong and Lazebnik 2011, section 3.2, on whole matrices."""
    errors = []
    for _ in range(n_turns):
        B = np.where(V @ rotation >= 0, 1.0, -1.0)
        errors.append(np.sum((B - V @ rotation) ** 2) / len(V))
        u, _, v_transposed = np.linalg.svd(B.T @ V)
        rotation = v_transposed.T @ u.T
    return rotation, errors


@pytest.mark.parametrize("n_bits", [1, 5, 24])
@pytest.mark.parametrize("few_changes", [_FEW_CHANGES, -1, 1], ids=["by-share", "all-bits", "changed-bits"])
def test_equals_the_plain_loop(monkeypatch, n_bits, few_changes):
    monkeypatch.setattr("skhash.hashers._itq._FEW_CHANGES", few_changes)
    hasher = ITQ(n_bits, max_iter=10, random_state=3).fit(DIGITS)
    V = PCAH(n_bits).fit(DIGITS).project(DIGITS)
    start = random_rotation(n_bits, np.random.RandomState(3))
    rotation, errors = plain_itq(V, start, 10)
    np.testing.assert_allclose(hasher.rotation_, rotation, atol=1e-6)
    np.testing.assert_allclose(hasher.quantization_errors_, errors, rtol=1e-9)


def test_quantization_error_never_rises():
    errors = ITQ(32, random_state=0).fit(DIGITS).quantization_errors_
    assert len(errors) == 50
    assert (np.diff(errors) <= 1e-9 * errors[0]).all()
    assert errors[-1] < errors[0]


def test_corners_of_a_turned_square_are_found():
    """Points on the axes at distance sqrt(2) are the corners of a square turned by 45 degrees: the error is zero."""
    X = np.sqrt(2) * np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    hasher = ITQ(2, random_state=0).fit(X)
    np.testing.assert_allclose(np.abs(hasher.project(X)), 1.0, atol=1e-9)
    assert hasher.quantization_errors_[-1] == pytest.approx(0.0, abs=1e-12)
    assert len(np.unique(hasher.transform(X))) == 4


def test_quantization_error_is_no_worse_than_that_of_faiss():
    faiss = pytest.importorskip("faiss", reason="faiss is the peer of this test")
    n_bits = 16
    V = PCA(n_bits, svd_solver="full").fit_transform(DIGITS).astype(np.float32)
    peer = faiss.ITQMatrix(n_bits)
    peer.train(V)
    turned = peer.apply(V)
    # faiss keeps the scale of V, so its error is measured at ours.
    peer_error = np.mean(np.sum((np.where(turned >= 0, 1.0, -1.0) - turned) ** 2, axis=1))
    ours = min(ITQ(n_bits, random_state=seed).fit(DIGITS).quantization_errors_[-1] for seed in range(3))
    assert ours <= 1.001 * peer_error


def test_float32_fit_agrees_with_float64_fit():
    single = ITQ(16, random_state=0).fit(DIGITS.astype(np.float32))
    double = ITQ(16, random_state=0).fit(DIGITS)
    differing = np.unpackbits(single.transform(DIGITS.astype(np.float32)) ^ double.transform(DIGITS))
    assert differing.mean() < 0.001


def test_first_chunk_gives_the_codes_of_a_fit():
    np.testing.assert_array_equal(
        ITQ(16, random_state=0).partial_fit(DIGITS).transform(DIGITS),
        ITQ(16, random_state=0).fit(DIGITS).transform(DIGITS),
    )


@pytest.mark.parametrize("n_rows", [1, 5, 20, 300])
def test_small_chunk_after_a_fit_does_not_scramble_the_codes(n_rows):
    """A rotation learned anew from a few rows changed up to half of all bits."""
    hasher = ITQ(16, random_state=0).fit(DIGITS[:1000])
    before = hasher.transform(DIGITS)
    hasher.partial_fit(DIGITS[1000 : 1000 + n_rows])
    changed = np.unpackbits(before ^ hasher.transform(DIGITS)).mean()
    # What moving the mean and the components by that many rows of 1 000 explains.
    assert changed < 0.002 + 0.3 * n_rows / 1000
    np.testing.assert_allclose(hasher.mean_, DIGITS[: 1000 + n_rows].mean(axis=0))
    np.testing.assert_allclose(hasher.rotation_ @ hasher.rotation_.T, np.eye(16), atol=1e-10)


def test_refused_first_chunk_leaves_an_unfitted_hasher_that_can_start_again():
    """The statistics of the refused rows stayed, and the next chunk met a half-fitted hasher."""
    hasher = ITQ(32, random_state=0)
    with pytest.raises(ValueError, match="n_bits=32 must be < n_samples=10"):
        hasher.partial_fit(DIGITS[:10])
    with pytest.raises(NotFittedError, match="ITQ"):
        hasher.transform(DIGITS)
    hasher.partial_fit(DIGITS[10:800])
    expected = ITQ(32, random_state=0).fit(DIGITS[10:800])
    np.testing.assert_array_equal(hasher.transform(DIGITS), expected.transform(DIGITS))


def test_collapsed_rank_is_refused_with_the_rank():
    rng = np.random.RandomState(0)
    X = rng.randn(50, 3) @ rng.randn(3, 10)
    with pytest.raises(ValueError, match="ITQ: n_bits=4 must be <= 3, the rank of the training data"):
        ITQ(4).fit(X)


def test_kept_hash_functions_give_the_same_bits_while_statistics_go_on():
    by_class = DIGITS[np.argsort(load_digits().target, kind="stable")]
    hasher = ITQ(8, keep_hash_functions=True, random_state=0).fit(by_class[:200])
    before, rotation = hasher.project(DIGITS), hasher.rotation_
    for chunk in np.array_split(by_class[200:], 3):
        hasher.partial_fit(chunk)
        np.testing.assert_array_equal(hasher.project(DIGITS), before)
    assert hasher.kept_variance_ratio_ < 0.85
    np.testing.assert_array_equal(hasher.rotation_, rotation)
    assert hasher.statistics_.n_samples == len(DIGITS)
    # Switched off, the next rows bring the directions that all rows have.
    hasher.set_params(keep_hash_functions=False).partial_fit(by_class[:20])
    assert hasher.kept_variance_ratio_ == pytest.approx(1)
    np.testing.assert_allclose(hasher.mean_, np.concatenate([by_class, by_class[:20]]).mean(axis=0))


def test_projections_that_overflow_are_refused_by_name():
    """Infinities were added up, and SciPy said that an array must not contain them."""
    X = np.random.RandomState(0).randint(-8, 9, size=(30, 5)).astype(np.float32) * np.float32(2e37)
    with pytest.raises(ValueError, match=r"^ITQ: features are so large that their products overflow"):
        ITQ(2, random_state=0).fit(X)
