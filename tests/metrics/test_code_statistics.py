"""Statistics of codes, against NumPy and SciPy on unpacked bits."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import entropy

from skhash.codes import pack_bits
from skhash.metrics import _code_statistics, code_statistics


@pytest.fixture
def bits():
    rng = np.random.default_rng(0)
    bits = rng.random((500, 12)) < np.linspace(0.1, 0.9, 12)
    bits[:, 5] = ~bits[:, 4]
    bits[:, 7] = True
    bits[:, 9] = False
    return bits


@pytest.mark.parametrize("block", [64, 2**14])
def test_moments_equal_numpy(bits, block, monkeypatch):
    monkeypatch.setattr(_code_statistics, "_BLOCK_CODES", block)
    statistics = code_statistics(pack_bits(bits), n_bits=12)
    assert_allclose(statistics.bit_means, bits.mean(axis=0))
    assert_array_equal(statistics.dead_bits, [7, 9])
    alive = np.delete(bits, [7, 9], axis=1)
    pairs = np.abs(np.corrcoef(alive, rowvar=False))[np.triu_indices(10, k=1)]
    assert statistics.mean_abs_correlation == pytest.approx(pairs.mean())
    assert statistics.max_abs_correlation == pytest.approx(1.0)
    wanted = [entropy([p, 1 - p], base=2) for p in bits.mean(axis=0)]
    assert_allclose(statistics.bit_entropies, wanted, atol=1e-15)
    eigenvalues = np.linalg.eigvalsh(np.cov(bits, rowvar=False))
    assert statistics.effective_rank == pytest.approx(np.exp(entropy(eigenvalues[eigenvalues > 1e-12])))


def test_effective_rank_of_known_codes():
    every_code = np.array(list(np.ndindex(2, 2, 2, 2)))
    assert code_statistics(pack_bits(every_code), n_bits=4).effective_rank == pytest.approx(4)
    doubled = np.concatenate([every_code, every_code], axis=1)
    assert code_statistics(pack_bits(doubled), n_bits=8).effective_rank == pytest.approx(4)
    copies = every_code[:, :1].repeat(4, axis=1)
    assert code_statistics(pack_bits(copies), n_bits=4).effective_rank == pytest.approx(1)


def test_buckets(bits):
    rows = [tuple(row) for row in bits]
    counts = {row: rows.count(row) for row in rows}
    statistics = code_statistics(pack_bits(bits), n_bits=12)
    assert statistics.n_distinct == len(counts)
    assert statistics.distinct_ratio == len(counts) / 500
    assert statistics.largest_bucket == max(counts.values())


def test_collapsed_codes():
    statistics = code_statistics(np.full((7, 2), 3, dtype=np.uint8))
    assert len(statistics.dead_bits) == 16
    assert statistics.effective_rank == 0.0
    assert np.isnan(statistics.mean_abs_correlation)
    assert np.isnan(statistics.max_abs_correlation)
    assert (statistics.n_distinct, statistics.largest_bucket) == (1, 7)
    assert_array_equal(statistics.bit_entropies, np.zeros(16))


def test_quantization_error_is_the_loss_of_itq_per_bit():
    projections = np.array([[0.5, -2.0, 0.0], [1.0, -1.0, 3.0]])
    statistics = code_statistics(pack_bits(projections >= 0), projections=projections)
    assert len(statistics.bit_means) == 3
    assert statistics.quantization_error == pytest.approx((0.25 + 1 + 1 + 0 + 0 + 4) / 6)
    assert "quantization_error" not in code_statistics(pack_bits(projections >= 0))


@pytest.mark.parametrize(
    ("codes", "parameters", "message"),
    [
        ([[0]], {"n_bits": 9}, "n_bits=9 needs codes of 2 bytes"),
        ([[1]], {"n_bits": 3}, "a padding bit after bit 3 is set"),
        ([[0]], {"projections": [[1.0, 1.0]]}, r"codes differ from pack_bits\(projections >= 0\)"),
        ([[192], [192]], {"projections": [[1.0, 1.0]]}, "1 projections for 2 codes"),
        ([[192]], {"projections": [[1.0, 1.0]], "n_bits": 3}, "projections have 2 columns, not n_bits=3"),
        ([[192]], {"projections": [[1.0, np.nan]]}, "projections hold NaN or infinity"),
        ([[192]], {"projections": [1.0, 1.0]}, r"projections have shape \(2,\)"),
        ([[192]], {"projections": [["a", "b"]]}, "dtype <U1"),
    ],
)
def test_misuse_is_named_in_one_line(codes, parameters, message):
    with pytest.raises(ValueError, match=message) as caught:
        code_statistics(codes, **parameters)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("code_statistics: ")


def test_lengths_that_are_no_integers_are_refused_in_one_line():
    with pytest.raises(TypeError, match="n_bits must be an integer") as raised:
        code_statistics([[1], [2]], n_bits=np.ones((2, 2)), projections=np.ones((2, 8)))
    assert "\n" not in str(raised.value)


def test_quantization_error_does_not_depend_on_the_order_in_memory():
    """Its last digit did: sums of rounded numbers depend on their order."""
    for seed in range(20):
        projections = np.random.default_rng(seed).standard_normal((40, 12))
        codes = pack_bits(projections >= 0)
        errors = {
            code_statistics(codes, n_bits=12, projections=same).quantization_error
            for same in (projections, np.asfortranarray(projections), projections[::-1].copy()[::-1])
        }
        assert len(errors) == 1
