"""Losses of classifiers on codes against loops over the formulas of the papers."""

import copy
import math
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="losses are torch modules")

from skhash.deep.losses._bihalf import BiHalf  # noqa: E402
from skhash.deep.losses._ce import CrossEntropy  # noqa: E402
from skhash.deep.losses._greedyhash import GreedyHash  # noqa: E402
from skhash.deep.losses._jmlh import JMLH  # noqa: E402

N_BITS = 5
LOSSES = [CrossEntropy, GreedyHash, BiHalf, JMLH]

# Rows of zeros are unlabelled.
TARGETS = {
    "single": np.eye(4)[[0, 0, 1, 1, 2, 2, 3]],
    "multi": np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [1, 0, 0, 1], [1, 1, 1, 0], [0, 0, 0, 1.0]]),
    "partial": np.vstack([np.eye(4)[[0, 1, 0, 2, 1]], np.zeros((2, 4))]),
    "partial multi": np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1.0]]),
}
DEGENERATE = {
    "no positive pair": np.eye(4),
    "one class": np.eye(4)[[1, 1, 1]],
    "one sample": np.eye(4)[[2]],
    "no label": np.zeros((3, 4)),
    "a single class at all": np.ones((3, 1)),
}


def outputs_for(targets):
    """Outputs that stay clear of the kinks at 0 and 1."""
    z = np.random.default_rng(0).normal(scale=1.2, size=(len(targets), N_BITS))
    return np.where((np.abs(z) < 0.05) | (np.abs(np.abs(z) - 1) < 0.05), z + 0.2, z)


def prepared(loss, targets, seed=0):
    generator = torch.Generator().manual_seed(seed)
    loss.prepare(
        N_BITS, targets.shape[1], n_samples=len(targets), targets=torch.from_numpy(targets), generator=generator
    )
    loss = loss.double()
    loss.start_epoch(0)
    return loss


def value(loss, z, targets):
    # Random bits come from the global generator.
    torch.manual_seed(5)
    return loss(torch.from_numpy(z), torch.from_numpy(targets), torch.arange(len(z))).item()


def naive_classification(loss, codes, targets):
    """Cross-entropy of the linear classifier of a loss, sample by sample."""
    weight, bias = (parameter.detach().numpy() for parameter in (loss.classifier.weight, loss.classifier.bias))
    multi = any(row.sum() > 1 for row in targets)
    terms = []
    for code, classes in zip(codes, targets, strict=True):
        if not classes.any():
            continue
        logits = [sum(w * b for w, b in zip(weight[c], code, strict=True)) + bias[c] for c in range(len(classes))]
        if multi:
            bits = [math.log(1 + math.exp(-o if y else o)) for o, y in zip(logits, classes, strict=True)]
            terms.append(sum(bits) / len(bits))
        else:
            own = logits[list(classes).index(1)]
            terms.append(-math.log(math.exp(own) / sum(math.exp(o) for o in logits)))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_cross_entropy_is_that_of_a_linear_classifier(targets):
    z = outputs_for(targets)
    loss = prepared(CrossEntropy(), targets)
    assert value(loss, z, targets) == pytest.approx(naive_classification(loss, z, targets))


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_greedyhash_classifies_codes_and_pulls_outputs_to_them(targets):
    z = outputs_for(targets)
    codes = np.where(z >= 0, 1.0, -1.0)
    loss = prepared(GreedyHash(alpha=0.3), targets)
    cubes = [abs(x - b) ** 3 for row, code in zip(z, codes, strict=True) for x, b in zip(row, code, strict=True)]
    expected = naive_classification(loss, codes, targets) + 0.3 * sum(cubes) / len(cubes)
    assert value(loss, z, targets) == pytest.approx(expected)


def test_greedyhash_passes_the_gradient_of_the_codes_to_the_outputs():
    targets = TARGETS["single"]
    loss = prepared(GreedyHash(alpha=0.0), targets)
    z = torch.from_numpy(outputs_for(targets)).requires_grad_()
    loss(z, torch.from_numpy(targets), torch.arange(len(z))).backward()
    weight, bias = loss.classifier.weight.detach().numpy(), loss.classifier.bias.detach().numpy()
    for i, classes in enumerate(targets):
        code = [1.0 if x >= 0 else -1.0 for x in z[i].tolist()]
        odds = [math.exp(float(weight[c] @ code) + bias[c]) for c in range(4)]
        # The derivative of softmax cross-entropy: probability minus indicator, times the weights.
        expected = sum((odds[c] / sum(odds) - classes[c]) * weight[c] for c in range(4)) / len(targets)
        assert z.grad[i].numpy() == pytest.approx(expected)


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_bihalf_classifies_codes_with_balanced_bits(targets):
    z = outputs_for(targets)
    n = len(z)
    codes = np.empty_like(z)
    for k in range(N_BITS):
        for rank, i in enumerate(sorted(range(n), key=lambda i: z[i, k])):
            middle = n % 2 and rank == n // 2
            codes[i, k] = (1 if z[i, k] >= 0 else -1) if middle else (-1 if rank < n / 2 else 1)
    loss = prepared(BiHalf(), targets)
    assert value(loss, z, targets) == pytest.approx(naive_classification(loss, codes, targets))


def test_bihalf_pulls_outputs_to_their_codes():
    z = torch.tensor([[0.5] * N_BITS, [3.0] * N_BITS], dtype=torch.float64, requires_grad=True)
    targets = np.eye(2)
    gradients = []
    for gamma in (0.0, 2.0):
        loss = prepared(BiHalf(gamma=gamma), targets)
        gradients.append(torch.autograd.grad(loss(z, torch.from_numpy(targets), torch.arange(2)), z)[0])
    # gamma / (n K) times (U - B), with the codes -1 and +1.
    expected = np.array([[1.5] * N_BITS, [2.0] * N_BITS]) * 2.0 / (2 * N_BITS)
    assert (gradients[1] - gradients[0]).numpy() == pytest.approx(expected)


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_jmlh_is_likelihood_plus_divergence_from_fair_coins(targets):
    z = outputs_for(targets)
    loss = prepared(JMLH(lam=0.4), targets)
    torch.manual_seed(5)
    draws = torch.rand(z.shape, dtype=torch.float64).numpy()
    p = 1 / (1 + np.exp(-z))
    codes = np.where(draws <= p, 1.0, -1.0)
    divergence = 0.0
    for row in p:
        for q in row:
            divergence += q * math.log(q / 0.5) + (1 - q) * math.log((1 - q) / 0.5)
    expected = naive_classification(loss, codes, targets) + 0.4 * divergence / len(z)
    assert value(loss, z, targets) == pytest.approx(expected)


def test_jmlh_is_finite_for_certain_bits():
    targets = np.eye(2)
    z = torch.full((2, N_BITS), 1e4, dtype=torch.float64, requires_grad=True)
    loss = prepared(JMLH(lam=1.0), targets)
    result = loss(z, torch.from_numpy(targets), torch.arange(2))
    result.backward()
    assert torch.isfinite(z.grad).all()
    # Certain bits are log 2 away from fair coins, each.
    codes = np.ones((2, N_BITS))
    expected = naive_classification(loss, codes, targets) + N_BITS * math.log(2)
    assert result.item() == pytest.approx(expected)


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_gradients_of_the_smooth_loss_agree_with_differences(targets):
    loss = prepared(CrossEntropy(), targets)
    z = torch.from_numpy(outputs_for(targets)).requires_grad_()
    y, rows = torch.from_numpy(targets), torch.arange(len(targets))
    assert torch.autograd.gradcheck(lambda outputs: loss(outputs, y, rows), z)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("targets", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_batches_have_a_finite_loss_and_gradient(loss, targets):
    loss = prepared(loss(), targets)
    z = torch.from_numpy(outputs_for(targets)).requires_grad_()
    result = loss(z, torch.from_numpy(targets), torch.arange(len(targets)))
    result.backward()
    assert result.shape == ()
    assert torch.isfinite(result)
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_copy_has_the_same_value(loss, duplicate):
    targets = TARGETS["multi"]
    z = outputs_for(targets)
    loss = prepared(duplicate(loss()), targets)
    other = duplicate(loss)
    assert value(other, z, targets) == value(loss, z, targets)


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_come_from_the_generator_alone(loss):
    targets = TARGETS["single"]
    state = torch.get_rng_state()
    losses = [prepared(loss(), targets, seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    values = [value(loss, outputs_for(targets), targets) for loss in losses]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("loss", LOSSES)
def test_classifiers_are_trained_and_outputs_projected_as_they_are(loss):
    targets = TARGETS["single"]
    loss = prepared(loss(), targets)
    loss(torch.from_numpy(outputs_for(targets)), torch.from_numpy(targets), torch.arange(len(targets))).backward()
    assert {name for name, p in loss.named_parameters() if p.grad is not None} == {
        "classifier.weight",
        "classifier.bias",
    }
    assert max(p.detach().abs().max() for p in loss.parameters()) <= N_BITS**-0.5
    z = torch.randn(2, N_BITS, generator=torch.Generator().manual_seed(0))
    assert loss.project(z) is z
