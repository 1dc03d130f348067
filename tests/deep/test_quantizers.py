"""Relaxations of the sign: values by the formula, gradients by hand."""

import copy
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="quantisers are torch modules")

from skhash.deep.quantizers import (  # noqa: E402
    AnnealedSigmoid,
    BernoulliSign,
    BiHalfSign,
    ClippedStraightThroughSign,
    Quantizer,
    StraightThroughSign,
    TanhContinuation,
)

Z = [[0.0, -0.5, 3.0], [-2.0, 0.25, 1.0]]
WEIGHTS = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def outputs_and_gradient(quantizer, z=Z, weights=WEIGHTS):
    """Apply a quantiser, and take the gradient of a weighted sum."""
    z = torch.tensor(z, requires_grad=True)
    codes = quantizer(z)
    (codes * weights).sum().backward()
    return codes.detach(), z.grad


def all_quantizers():
    return [
        TanhContinuation(),
        AnnealedSigmoid(),
        StraightThroughSign(),
        ClippedStraightThroughSign(),
        BernoulliSign(torch.Generator().manual_seed(0)),
        BiHalfSign(),
    ]


@pytest.mark.parametrize(("epoch", "beta"), [(0, 1), (19, 1), (20, math.sqrt(2)), (79, 2), (80, math.sqrt(5))])
def test_tanh_continuation_follows_the_schedule_of_hashnet(epoch, beta):
    quantizer = TanhContinuation()
    quantizer.start_epoch(epoch)
    codes, gradient = outputs_and_gradient(quantizer)
    for i in range(2):
        for k in range(3):
            value = math.tanh(beta * Z[i][k])
            assert codes[i, k].item() == pytest.approx(value, abs=1e-6)
            assert gradient[i, k].item() == pytest.approx(WEIGHTS[i, k].item() * beta * (1 - value**2), abs=1e-5)


@pytest.mark.parametrize(("epoch", "beta"), [(0, 1.0), (3, 2.5)])
def test_annealed_sigmoid_gets_steeper(epoch, beta):
    quantizer = AnnealedSigmoid(rate=0.5)
    quantizer.start_epoch(epoch)
    codes, _ = outputs_and_gradient(quantizer)
    for i in range(2):
        for k in range(3):
            assert codes[i, k].item() == pytest.approx(2 / (1 + math.exp(-beta * Z[i][k])) - 1, abs=1e-6)


def test_straight_through_passes_every_gradient():
    codes, gradient = outputs_and_gradient(StraightThroughSign())
    assert codes.tolist() == [[1, -1, 1], [-1, 1, 1]]
    assert gradient.tolist() == WEIGHTS.tolist()


def test_clipped_straight_through_stops_gradients_of_binary_outputs():
    codes, gradient = outputs_and_gradient(ClippedStraightThroughSign())
    assert codes.tolist() == [[1, -1, 1], [-1, 1, 1]]
    assert gradient.tolist() == [[1, 2, 0], [0, 5, 6]]


def test_bernoulli_bits_are_plus_one_with_the_logistic_probability():
    quantizer = BernoulliSign(torch.Generator().manual_seed(0))
    z = torch.tensor([[-1.0, 0.0, 2.0]]).repeat(20000, 1)
    codes = quantizer(z)
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    for k, output in enumerate([-1.0, 0.0, 2.0]):
        # Four standard errors of a proportion are at most 4 * 0.5 / sqrt(20000) = 0.0142.
        assert (codes[:, k] > 0).double().mean().item() == pytest.approx(1 / (1 + math.exp(-output)), abs=0.0142)


def test_bernoulli_gradient_is_that_of_the_mean():
    _, gradient = outputs_and_gradient(BernoulliSign(torch.Generator().manual_seed(0)))
    for i in range(2):
        for k in range(3):
            p = 1 / (1 + math.exp(-Z[i][k]))
            assert gradient[i, k].item() == pytest.approx(WEIGHTS[i, k].item() * 2 * p * (1 - p), rel=1e-5)


def test_bernoulli_depends_on_its_own_generator_only():
    z = torch.zeros(50, 4)
    torch.manual_seed(1)
    first = BernoulliSign(torch.Generator().manual_seed(7))(z)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = BernoulliSign(torch.Generator().manual_seed(7))(z)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, BernoulliSign(torch.Generator().manual_seed(8))(z))


def test_bernoulli_draws_from_the_global_generator_by_default():
    z = torch.zeros(50, 4)
    first = BernoulliSign(torch.Generator().manual_seed(7))(z)
    torch.manual_seed(7)
    assert torch.equal(BernoulliSign()(z), first)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_bihalf_splits_each_bit_at_its_median(n):
    z = np.random.default_rng(n).normal(size=(n, 4))
    codes = BiHalfSign()(torch.from_numpy(z)).numpy()
    for k in range(4):
        order = sorted(range(n), key=lambda i: z[i, k])
        for rank, i in enumerate(order):
            if n % 2 and rank == n // 2:
                expected = 1 if z[i, k] >= 0 else -1
            else:
                expected = -1 if rank < n / 2 else 1
            assert codes[i, k] == expected


def test_bihalf_is_balanced_with_ties():
    assert BiHalfSign()(torch.ones(6, 2)).sum(dim=0).tolist() == [0, 0]


def test_bihalf_gradient_pulls_outputs_to_their_codes():
    codes, gradient = outputs_and_gradient(BiHalfSign(gamma=3.0))
    assert codes.tolist() == [[1, -1, 1], [-1, 1, -1]]
    for i in range(2):
        for k in range(3):
            expected = WEIGHTS[i, k].item() + 3.0 / 6 * (Z[i][k] - codes[i, k].item())
            assert gradient[i, k].item() == pytest.approx(expected)


@pytest.mark.parametrize("quantizer", all_quantizers()[2:], ids=lambda quantizer: type(quantizer).__name__)
def test_evaluation_takes_the_sign(quantizer):
    codes, _ = outputs_and_gradient(quantizer.eval())
    assert codes.tolist() == [[1, -1, 1], [-1, 1, 1]]


@pytest.mark.parametrize("quantizer", all_quantizers(), ids=lambda quantizer: type(quantizer).__name__)
def test_a_copy_does_the_same(quantizer):
    quantizer.start_epoch(40)
    duplicate = copy.deepcopy(quantizer)
    z = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)
    codes = quantizer(z)
    assert torch.equal(codes, duplicate(z))
    assert codes.dtype == torch.float64
    assert codes.shape == z.shape


def test_a_quantizer_has_to_define_forward():
    with pytest.raises(NotImplementedError, match="Quantizer has to define forward"):
        Quantizer()(torch.zeros(1, 1))
