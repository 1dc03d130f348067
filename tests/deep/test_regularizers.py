"""Regularisers against double loops in NumPy."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="regularisers are functions of tensors")

from skhash.deep import regularizers  # noqa: E402

REGULARIZERS = [
    regularizers.l1_quantization,
    regularizers.l2_quantization,
    regularizers.cubic_quantization,
    regularizers.log_cosh_quantization,
    regularizers.bit_balance,
    regularizers.bit_correlation,
    regularizers.sliced_wasserstein_quantization,
]


@pytest.fixture(params=[(1, 1), (1, 4), (6, 1), (7, 5), (8, 3)], ids=str)
def z(request):
    return np.random.default_rng(0).normal(scale=1.5, size=request.param)


def value(function, z):
    return function(torch.from_numpy(z)).item()


def test_quantization_terms_sum_over_bits_and_average_over_samples(z):
    expected = dict.fromkeys(["l1", "l2", "cubic", "log_cosh"], 0.0)
    for row in z:
        for output in row:
            distance = abs(abs(output) - 1)
            expected["l1"] += distance / len(z)
            expected["l2"] += (output - (1 if output >= 0 else -1)) ** 2 / len(z)
            expected["cubic"] += distance**3 / len(z)
            expected["log_cosh"] += math.log(math.cosh(distance)) / len(z)
    for name, loss in expected.items():
        assert value(getattr(regularizers, f"{name}_quantization"), z) == pytest.approx(loss, abs=1e-12)


def test_bit_balance_is_the_squared_mean_of_a_bit(z):
    n, n_bits = z.shape
    expected = 0.0
    for k in range(n_bits):
        expected += (sum(z[i, k] for i in range(n)) / n) ** 2 / n_bits
    assert value(regularizers.bit_balance, z) == pytest.approx(expected)


def test_bit_correlation_is_the_squared_product_of_different_bits(z):
    n, n_bits = z.shape
    products = [
        (sum(z[i, k] * z[i, m] for i in range(n)) / n) ** 2 for k in range(n_bits) for m in range(n_bits) if k != m
    ]
    expected = sum(products) / len(products) if products else 0.0
    assert value(regularizers.bit_correlation, z) == pytest.approx(expected)


def test_sliced_wasserstein_pairs_each_sorted_bit_with_a_balanced_one(z):
    n, n_bits = z.shape
    expected = 0.0
    for k in range(n_bits):
        order = sorted(range(n), key=lambda i: z[i, k])
        for rank, i in enumerate(order):
            target = -1 if rank + 1 <= n // 2 else 1 if rank + 1 > n - n // 2 else 0
            expected += (z[i, k] - target) ** 2 / (n * n_bits)
    assert value(regularizers.sliced_wasserstein_quantization, z) == pytest.approx(expected)


def test_balanced_uncorrelated_codes_cost_nothing():
    codes = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    for function in REGULARIZERS:
        assert value(function, codes) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("function", REGULARIZERS)
def test_gradients_agree_with_differences(function):
    # At least 0.1 away from the kinks at -1, 0 and +1, and without ties within a bit.
    z = torch.tensor([[0.4, -1.3, 2.0], [-0.6, 0.7, -0.2], [1.6, 0.25, -2.5], [-1.8, -0.3, 0.55]], dtype=torch.float64)
    assert torch.autograd.gradcheck(function, z.requires_grad_())


def test_zero_is_quantized_to_plus_one():
    z = torch.zeros(1, 2, requires_grad=True)
    loss = regularizers.l2_quantization(z)
    loss.backward()
    assert loss.item() == 2
    assert z.grad.tolist() == [[-2.0, -2.0]]


def test_log_cosh_does_not_overflow():
    z = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = regularizers.log_cosh_quantization(z)
    loss.backward()
    assert loss.item() == pytest.approx(2 * (1e4 - 1 - math.log(2)))
    assert z.grad.tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize("function", REGULARIZERS)
def test_the_dtype_of_the_outputs_is_kept(function):
    assert function(torch.ones(3, 2, dtype=torch.float32)).dtype == torch.float32
