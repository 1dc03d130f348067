"""Losses with centres and proxies of classes against loops over the formulas of the papers."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="losses are torch modules")

from skhash.centers import gilbert_varshamov_distance  # noqa: E402
from skhash.deep.losses._csq import CSQ  # noqa: E402
from skhash.deep.losses._dpn import DPN  # noqa: E402
from skhash.deep.losses._hyp2 import HyP2, _griesmer_distance  # noqa: E402
from skhash.deep.losses._mdsh import MDSH  # noqa: E402
from skhash.deep.losses._orthohash import OrthoHash  # noqa: E402

N_BITS = 8
LOSSES = {
    "csq": CSQ,
    "dpn": DPN,
    "orthohash": OrthoHash,
    "orthohash arc": lambda: OrthoHash(margin_type="arc"),
    "hyp2": HyP2,
    "mdsh": lambda: MDSH(pairs_from=0),
    "mdsh before pairs": MDSH,
}

# Rows of zeros are unlabelled.
TARGETS = {
    "single": np.eye(4)[[0, 0, 1, 1, 2, 2, 3]],
    "multi": np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 0.0]]),
    "partial": np.vstack([np.eye(4)[[0, 1, 0, 2, 1]], np.zeros((2, 4))]),
    "partial multi": np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1.0]]),
}
DEGENERATE = {
    "no positive pair": np.eye(4),
    "one class": np.eye(4)[[1, 1, 1]],
    "one sample": np.eye(4)[[2]],
    "no label": np.zeros((3, 4)),
    "one sample without a label": np.zeros((1, 4)),
    "a single class at all": np.ones((3, 1)),
    "all classes at once": np.ones((3, 4)),
}

over_targets = pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)


def outputs_for(targets, n_bits=N_BITS):
    """Outputs that stay clear of the kinks at 0 and 1."""
    z = np.random.default_rng(0).normal(scale=1.2, size=(len(targets), n_bits))
    return np.where((np.abs(z) < 0.05) | (np.abs(np.abs(z) - 1) < 0.05), z + 0.2, z)


def prepared(loss, targets, *, seed=0, n_bits=N_BITS):
    generator = torch.Generator().manual_seed(seed)
    loss.prepare(
        n_bits, targets.shape[1], n_samples=len(targets), targets=torch.from_numpy(targets), generator=generator
    )
    loss = loss.double()
    loss.start_epoch(0)
    return loss


def value(loss, z, targets):
    return loss(torch.from_numpy(z), torch.from_numpy(targets), torch.arange(len(z))).item()


def mean(values):
    return sum(values) / len(values) if len(values) else 0.0


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def naive_center(classes, centers, tie_breaker):
    """Majority of the centres of the classes of a sample."""
    center = []
    for k, tie in enumerate(tie_breaker):
        votes = sum(centers[c][k] for c, has in enumerate(classes) if has)
        center.append(tie if votes == 0 else math.copysign(1, votes))
    return center


@over_targets
def test_csq_is_cross_entropy_with_the_centre_of_a_sample(targets):
    z = outputs_for(targets)
    loss = prepared(CSQ(lam=0.3), targets)
    centers, tie_breaker = loss.centers.tolist(), loss.tie_breaker.tolist()
    central, quantization = [], []
    for row, classes in zip(z, targets, strict=True):
        for x, c in zip(row, naive_center(classes, centers, tie_breaker), strict=True):
            h = (math.tanh(x) + 1) / 2
            if classes.any():
                central.append(-math.log(h) if c == 1 else -math.log(1 - h))
            quantization.append(math.log(math.cosh(abs(2 * h - 1) - 1)))
    assert value(loss, z, targets) == pytest.approx(mean(central) + 0.3 * mean(quantization))


@over_targets
def test_dpn_is_a_hinge_on_the_side_of_the_code(targets):
    z = outputs_for(targets)
    loss = prepared(DPN(margin=1.5), targets)
    centers, tie_breaker = loss.centers.tolist(), loss.tie_breaker.tolist()
    terms = [
        max(1.5 - x * t, 0)
        for row, classes in zip(z, targets, strict=True)
        if classes.any()
        for x, t in zip(row, naive_center(classes, centers, tie_breaker), strict=True)
    ]
    assert value(loss, z, targets) == pytest.approx(mean(terms))


@over_targets
@pytest.mark.parametrize("margin_type", ["cosine", "arc"])
@pytest.mark.parametrize("scale", [None, 5.0])
def test_orthohash_is_cross_entropy_of_cosines_with_a_margin(targets, margin_type, scale):
    z = outputs_for(targets)
    loss = prepared(OrthoHash(margin=0.3, margin_type=margin_type, scale=scale), targets)
    s = math.sqrt(N_BITS) if scale is None else scale
    v = (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-5)
    terms = []
    for row, classes in zip(v, targets, strict=True):
        if not classes.any():
            continue
        logits = []
        for center, has in zip(loss.centers.tolist(), classes, strict=True):
            cos = cosine(row, center)
            logits.append(s * (cos - 0.3 * has if margin_type == "cosine" else math.cos(math.acos(cos) + 0.3 * has)))
        total = math.log(sum(math.exp(logit) for logit in logits))
        terms.append(mean([total - logit for logit, has in zip(logits, classes, strict=True) if has]))
    assert value(loss, z, targets) == pytest.approx(mean(terms))


def test_orthohash_projects_by_the_running_statistics_in_any_mode():
    targets = TARGETS["single"]
    z = outputs_for(targets)
    loss = prepared(OrthoHash(), targets)
    value(loss, z, targets)
    # One batch with the momentum 0.1 of torch, from mean 0 and variance 1.
    running_mean, running_var = 0.1 * z.mean(axis=0), 0.9 + 0.1 * z.var(axis=0, ddof=1)
    expected = (z - running_mean) / np.sqrt(running_var + 1e-5)
    for mode in (True, False):
        loss.train(mode)
        assert loss.project(torch.from_numpy(z)).detach().numpy() == pytest.approx(expected)


def test_orthohash_arc_margin_stops_at_the_opposite_direction():
    targets = np.eye(2)
    loss = prepared(OrthoHash(margin=0.5, margin_type="arc"), targets).eval()
    # Opposite to the own code, that is at the angle pi already.
    z = -loss.centers.numpy()
    other = cosine(z[0], loss.centers[1].tolist())
    own, other = -math.sqrt(N_BITS), other * math.sqrt(N_BITS)
    expected = math.log(math.exp(own) + math.exp(other)) - own
    assert value(loss, z, targets) == pytest.approx(expected, abs=1e-5)


def test_orthohash_refuses_an_unknown_margin():
    with pytest.raises(ValueError, match=r"^OrthoHash: margin_type='angle' is unknown; use 'cosine' or 'arc'\.$"):
        prepared(OrthoHash(margin_type="angle"), np.eye(2))


@over_targets
def test_hyp2_pulls_to_proxies_and_parts_irrelevant_pairs(targets):
    z = outputs_for(targets)
    loss = prepared(HyP2(beta=0.7), targets)
    # Four classes and eight bits: the linear code (8, 2, 5).
    zeta = 1 - 2 * 5 / 8
    proxies = loss.proxies.detach().numpy()
    attraction, repulsion, pairs = [], [], []
    for row, classes in zip(z, targets, strict=True):
        if classes.any():
            for c, has in enumerate(classes):
                cos = cosine(row, proxies[c])
                if has:
                    attraction.append(1 - cos)
                else:
                    repulsion.append(max(cos - zeta, 0))
    for i, j in itertools.permutations(range(len(z)), 2):
        if targets[i].sum() > 1 and targets[j].sum() > 1 and targets[i] @ targets[j] == 0:
            pairs.append(max(cosine(z[i], z[j]) - zeta, 0))
    assert value(loss, z, targets) == pytest.approx(mean(attraction) + mean(repulsion) + 0.7 * mean(pairs))


# Minimum distances of the best binary linear codes (Grassl's tables), all of which meet the bound of Griesmer.
@pytest.mark.parametrize(
    ("n_classes", "n_bits", "distance"),
    [(2, 10, 10), (4, 8, 5), (10, 12, 6), (10, 16, 8), (16, 32, 16), (100, 16, 6), (4096, 24, 8), (21, 48, 24)],
)
def test_griesmer_distance_is_that_of_optimal_linear_codes(n_classes, n_bits, distance):
    assert _griesmer_distance(n_classes, n_bits) == distance


def test_griesmer_distance_is_zero_without_enough_words():
    assert _griesmer_distance(9, 3) == 0


def naive_mdsh(loss, z, targets, bank):
    """The loss with pairs of batch and bank, a dictionary from row to relaxed code and classes."""
    h = np.tanh(z)
    central, quantization, pairs = [], [], []
    for i, classes in enumerate(targets):
        quantization += [(abs(x) - 1) ** 2 for x in h[i]]
        if classes.any():
            odds = [math.exp(math.sqrt(N_BITS) * cosine(h[i], center)) for center in loss.centers.tolist()]
            for odd, has in zip(odds, classes, strict=True):
                p = odd / sum(odds)
                central.append(-math.log(p) if has else -math.log(1 - p))
        for j, (code, other) in bank.items():
            if i != j and any(a and b for a, b in zip(classes, other, strict=True)):
                pairs.append(math.log(1 + math.exp((1 - cosine(h[i], code)) / 2)))
    return mean(central) + loss.beta * mean(pairs) + loss.lam * mean(quantization)


@over_targets
def test_mdsh_without_pairs_is_cross_entropy_of_cosines_with_centres(targets):
    z = outputs_for(targets)
    loss = prepared(MDSH(lam=0.3), targets)
    assert value(loss, z, targets) == pytest.approx(naive_mdsh(loss, z, targets, {}))


@over_targets
def test_mdsh_remembers_the_last_code_of_each_sample(targets):
    z = outputs_for(targets)
    loss = prepared(MDSH(beta=0.5, lam=0.3, pairs_from=4), targets)
    loss.start_epoch(4)
    before = outputs_for(targets)[::-1].copy()
    seen = [1, 2]
    loss(torch.from_numpy(before[seen]), torch.from_numpy(targets[seen]), torch.tensor(seen))
    # The batch is rows 0 and 1, so that row 2 is remembered and the others have not been seen.
    bank = {0: (np.tanh(z[0]), targets[0]), 1: (np.tanh(z[1]), targets[1]), 2: (np.tanh(before[2]), targets[2])}
    assert value(loss, z[:2], targets[:2]) == pytest.approx(naive_mdsh(loss, z[:2], targets[:2], bank))


def test_mdsh_goes_on_from_its_state():
    targets = TARGETS["single"]
    z = outputs_for(targets)
    first, second = (prepared(MDSH(pairs_from=0), targets, seed=seed) for seed in (0, 1))
    value(first, z[::-1].copy(), targets)
    second.load_state_dict(first.state_dict())
    assert value(second, z[:3], targets[:3]) == value(first, z[:3], targets[:3])


def test_mdsh_starts_with_pairs_when_told():
    targets = TARGETS["single"]
    z = outputs_for(targets)
    loss = prepared(MDSH(pairs_from=3), targets)
    values = []
    for epoch in (2, 3):
        loss.start_epoch(epoch)
        values.append(value(loss, z, targets))
    assert values[1] > values[0] + math.log(2)


def test_mdsh_centres_keep_the_distance_of_gilbert_and_varshamov():
    targets = np.eye(20)
    loss = prepared(MDSH(), targets, n_bits=24)
    centers = loss.centers.tolist()
    distances = [sum(a != b for a, b in zip(x, y, strict=True)) for x, y in itertools.combinations(centers, 2)]
    assert min(distances) >= gilbert_varshamov_distance(20, 24)


def test_mdsh_is_exact_where_a_wrong_class_is_nearly_certain():
    targets = np.eye(2)[[1]]
    loss = prepared(MDSH(lam=0.0), targets, n_bits=1024).float()
    loss.centers[1] = -loss.centers[0]
    z = 10 * loss.centers[:1]
    # The logits are +32 for the wrong class and -32: both logarithms are -64, though 1 - p rounds to 0.
    result = loss(z.requires_grad_(), torch.from_numpy(targets).float(), torch.arange(1))
    assert result.item() == pytest.approx(64, rel=1e-5)


@pytest.mark.parametrize(("n_classes", "n_bits"), [(4, 8), (16, 8), (5, 12)])
@pytest.mark.parametrize("loss", [CSQ, DPN, OrthoHash])
def test_centres_are_orthogonal_rows_where_there_are_enough(loss, n_classes, n_bits):
    centers = prepared(loss(), np.eye(n_classes), n_bits=n_bits).centers
    assert centers.shape == (n_classes, n_bits)
    assert set(centers.unique().tolist()) <= {-1.0, 1.0}
    products = {int(abs(a @ b)) for a, b in itertools.combinations(centers.numpy(), 2)}
    if (n_classes, n_bits) == (4, 8):
        assert products == {0}
    elif (n_classes, n_bits) == (16, 8):
        assert products == {0, 8}


@pytest.mark.parametrize("loss", [CSQ, DPN, OrthoHash, MDSH])
def test_more_classes_than_codes_are_refused_in_one_line(loss):
    with pytest.raises(ValueError, match=f"^{loss.__name__}: 9 classes exceed the 8 codes of n_bits=3") as error:
        prepared(loss(), np.eye(9), n_bits=3)
    assert "\n" not in str(error.value)


@over_targets
@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "mdsh"])
def test_gradients_agree_with_differences(loss, targets):
    loss = prepared(LOSSES[loss](), targets)
    z = torch.from_numpy(outputs_for(targets)).requires_grad_()
    y, rows = torch.from_numpy(targets), torch.arange(len(targets))
    assert torch.autograd.gradcheck(lambda outputs: loss(outputs, y, rows), z)


def test_mdsh_pairs_pull_the_batch_only():
    """The gradient with pairs is that of differences while the bank stands still."""
    targets = TARGETS["single"]
    loss = prepared(MDSH(pairs_from=0), targets)
    z = torch.from_numpy(outputs_for(targets))
    y, rows = torch.from_numpy(targets), torch.arange(len(targets))
    loss(z, y, rows)

    def pairs(outputs):
        directions = torch.nn.functional.normalize(torch.tanh(outputs))
        return loss._pairs(directions, y, rows)

    assert torch.autograd.gradcheck(pairs, z.clone().requires_grad_())
    without, outputs = prepared(MDSH(), targets), z.clone().requires_grad_()
    gradients = [torch.autograd.grad(term, outputs)[0] for term in (loss(outputs, y, rows), without(outputs, y, rows))]
    expected = torch.autograd.grad(pairs(outputs), outputs)[0]
    assert (gradients[0] - gradients[1]).numpy() == pytest.approx(expected.numpy(), abs=1e-12)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("targets", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_batches_have_a_finite_loss_and_gradient(loss, targets):
    loss = prepared(loss(), targets)
    z = torch.from_numpy(outputs_for(targets)).requires_grad_()
    result = loss(z, torch.from_numpy(targets), torch.arange(len(targets)))
    result.backward()
    assert result.shape == ()
    assert torch.isfinite(result)
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_extreme_outputs_have_a_finite_loss_and_gradient(loss):
    targets = TARGETS["single"]
    loss = prepared(loss(), targets).float()
    z = torch.tensor([[1e4] * N_BITS, [-1e4] * N_BITS, [0.0] * N_BITS, [1e-8] * N_BITS], requires_grad=True)
    result = loss(z, torch.from_numpy(targets[:4]).float(), torch.arange(4))
    result.backward()
    assert torch.isfinite(result)
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_copy_has_the_same_value(loss, duplicate):
    targets = TARGETS["multi"]
    z = outputs_for(targets)
    loss = prepared(duplicate(loss()), targets)
    other = duplicate(loss)
    assert value(other, z, targets) == value(loss, z, targets)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_randomness_comes_from_the_generator_alone(loss):
    targets = TARGETS["single"]
    z = outputs_for(targets)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    values = [value(prepared(loss(), targets, seed=seed), z, targets) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@pytest.mark.parametrize("loss", [CSQ, DPN, HyP2, MDSH])
def test_outputs_are_projected_as_they_are(loss):
    z = torch.randn(2, N_BITS, generator=torch.Generator().manual_seed(0))
    assert prepared(loss(), TARGETS["single"]).project(z) is z
